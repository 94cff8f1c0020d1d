"""What makes a compiled chat template count its work: changes of its syntax tree.

Loops, new containers, slices and comparisons go through filters of the environment of
`sandbox` whose names no template can write; sums, products, powers, formats and `~` are
compiled to its methods.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jinja2.ext
from jinja2 import compiler, nodes, visitor

MAX_TERMS = 16  # of a sum that is counted when it is done
# tests that read all of what they compare
COMPARISON_TESTS = frozenset(
    ("!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in")
) | {"le", "lessthan", "lt", "ne"}
OPERATORS = {
    nodes.Add: "added",
    nodes.Mul: "multiplied",
    nodes.Pow: "raised",
    nodes.Mod: "modulo",
}


class BudgetExceeded(jinja2.TemplateRuntimeError):
    """A template that does more than its budget allows, or what has no bound."""


class MeteringTransformer(visitor.NodeTransformer):
    """Puts what counts work where jinja itself has no place for it."""

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        for written in node.nodes:
            sums = list(addition_chain(written))
            if len(sums) <= MAX_TERMS:  # counted as a whole, where it is written
                for each in sums:
                    vars(each)["counted"] = False
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise BudgetExceeded("a recursive loop")
        self.generic_visit(node)
        texts = sum(len(t.data) for t in node.find_all(nodes.TemplateData))
        node.iter = metering_filter("counted", node.iter, nodes.Const(texts))
        return node

    def visit_List(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        constant = all(isinstance(n, nodes.Const) for n in node.iter_child_nodes())
        if constant or getattr(node, "ctx", "load") != "load":
            return node
        return metering_filter("weighed", node)

    visit_Tuple = visit_Dict = visit_List

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        if node.name in COMPARISON_TESTS:
            node.node = metering_filter("weighed", node.node)
            node.args = [metering_filter("weighed", each) for each in node.args or ()]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return metering_filter("scanned", node)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        simple = isinstance(node.expr, nodes.Const)
        for operand in node.ops:
            if isinstance(operand.expr, nodes.Const | nodes.List | nodes.Tuple):
                continue
            if not simple:
                operand.expr = metering_filter("weighed", operand.expr)
            elif operand.op in ("in", "notin"):
                operand.expr = metering_filter("scanned", operand.expr)
        return node


def addition_chain(value: nodes.Expr) -> Iterator[nodes.Add]:
    """The sums of which a value is the whole: `a + b + c`."""
    while isinstance(value, nodes.Add):
        yield value
        value = value.left


def metering_filter(name: str, value: Any, *others: nodes.Expr) -> nodes.Filter:
    """The value, through a filter of that name of `sandbox.Environment`."""
    found = nodes.Filter(value, name + " ", list(others), [], None, None)
    found.set_lineno(value.lineno)
    found.set_environment(value.environment)
    return found


class MeteringCodeGenerator(compiler.CodeGenerator):
    """Python of a template, in which `~`, `+`, `*`, `**` and `%` are counted."""

    @compiler.optimizeconst
    def visit_Add(self, node: nodes.BinExpr, frame: compiler.Frame) -> None:
        if getattr(node, "counted", True):
            self.counted(node, frame)
        else:
            self.write("(")
            self.visit(node.left, frame)
            self.write(" + ")
            self.visit(node.right, frame)
            self.write(")")

    @compiler.optimizeconst
    def counted(self, node: nodes.BinExpr, frame: compiler.Frame) -> None:
        """A method of the environment in place of an operator."""
        self.write(f"environment.{OPERATORS[type(node)]}(")
        self.visit(node.left, frame)
        self.write(", ")
        self.visit(node.right, frame)
        self.write(")")

    visit_Mul = visit_Pow = visit_Mod = counted

    @compiler.optimizeconst
    def visit_Concat(self, node: nodes.Concat, frame: compiler.Frame) -> None:
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`: remembers where the assistant's words stand."""

    tags = {"generation"}

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = nodes.CallBlock(self.call_method("noted"), [], [], body)
        return block.set_lineno(line)

    def noted(self, caller: Callable[[], str]) -> str:
        """The words, whose place is kept in the environment."""
        text = caller()
        here: Any = self.environment
        here.assistant_spans.append((here.at, here.at + len(text)))
        return text

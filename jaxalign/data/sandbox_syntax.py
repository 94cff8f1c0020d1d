"""Syntax-tree changes by which a compiled chat template meters its own work.

Loops, new containers, slices and comparisons are passed through filters of the
environment of `sandbox` whose names no template can write; sums, products, powers,
formats and `~` are compiled to its methods.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jinja2.ext
from jinja2 import compiler, nodes, visitor

MAX_TERMS = 16  # of a sum that is metered only when it is written
# tests that read all of what they compare
COMPARISON_TESTS = frozenset(
    ("!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in")
) | {"le", "lessthan", "lt", "ne"}
# methods of `sandbox_budget.Budget` in place of operators
OPERATORS = {
    nodes.Add: "add",
    nodes.Mul: "multiply",
    nodes.Pow: "power",
    nodes.Mod: "modulo",
}


class BudgetExceeded(jinja2.TemplateRuntimeError):
    """A template does more work than its budget, or work that has no bound."""


class MeteringTransformer(visitor.NodeTransformer):
    """Adds metering where jinja itself has no hook for it."""

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        for value in node.nodes:
            sums = list(addition_chain(value))
            if len(sums) <= MAX_TERMS:  # metered as a whole, where it is written
                for each in sums:
                    vars(each)["metered"] = False
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise BudgetExceeded("a recursive loop")
        self.generic_visit(node)
        texts = sum(len(t.data) for t in node.find_all(nodes.TemplateData))
        node.iter = metering_filter("charge_loop", node.iter, nodes.Const(texts))
        return node

    def visit_List(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        constant = all(isinstance(n, nodes.Const) for n in node.iter_child_nodes())
        if constant or getattr(node, "ctx", "load") != "load":
            return node
        return metering_filter("charge_value", node)

    visit_Tuple = visit_Dict = visit_List

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        if node.name in COMPARISON_TESTS:
            node.node = metering_filter("charge_value", node.node)
            node.args = [
                metering_filter("charge_value", each) for each in node.args or ()
            ]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return metering_filter("charge_scan", node)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        simple = isinstance(node.expr, nodes.Const)
        for operand in node.ops:
            if isinstance(operand.expr, nodes.Const | nodes.List | nodes.Tuple):
                continue
            if not simple:
                operand.expr = metering_filter("charge_value", operand.expr)
            elif operand.op in ("in", "notin"):
                operand.expr = metering_filter("charge_scan", operand.expr)
        return node


def addition_chain(value: nodes.Expr) -> Iterator[nodes.Add]:
    """The nested additions of `a + b + c`, from the outermost inward."""
    while isinstance(value, nodes.Add):
        yield value
        value = value.left


def metering_filter(name: str, value: Any, *arguments: nodes.Expr) -> nodes.Filter:
    """The value, passed through a metering filter of `sandbox.Environment`.

    The filter's name ends with a space, so that no template can write it.
    """
    node = nodes.Filter(value, name + " ", list(arguments), [], None, None)
    node.set_lineno(value.lineno)
    node.set_environment(value.environment)
    return node


class MeteringCodeGenerator(compiler.CodeGenerator):
    """Compiles templates to Python in which `~`, `+`, `*`, `**` and `%` are metered."""

    @compiler.optimizeconst
    def visit_Add(self, node: nodes.BinExpr, frame: compiler.Frame) -> None:
        if getattr(node, "metered", True):
            self.write_operator(node, frame)
        else:
            self.write("(")
            self.visit(node.left, frame)
            self.write(" + ")
            self.visit(node.right, frame)
            self.write(")")

    @compiler.optimizeconst
    def write_operator(self, node: nodes.BinExpr, frame: compiler.Frame) -> None:
        """Writes a call of the environment's method in place of an operator."""
        self.write(f"environment.{OPERATORS[type(node)]}(")
        self.visit(node.left, frame)
        self.write(", ")
        self.visit(node.right, frame)
        self.write(")")

    visit_Mul = visit_Pow = visit_Mod = write_operator

    @compiler.optimizeconst
    def visit_Concat(self, node: nodes.Concat, frame: compiler.Frame) -> None:
        self.write("environment.concatenate((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`: records where the assistant's words are in the text."""

    tags = {"generation"}

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = nodes.CallBlock(self.call_method("record_span"), [], [], body)
        return block.set_lineno(line)

    def record_span(self, caller: Callable[[], str]) -> str:
        """The tag's text, whose span is recorded in the environment."""
        text = caller()
        environment: Any = self.environment
        start = environment.position
        environment.assistant_spans.append((start, start + len(text)))
        return text

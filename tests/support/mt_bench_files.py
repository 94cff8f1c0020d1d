"""Small files in MT-Bench's layout, with prompts of a few words."""

import json

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]},
    {
        "question_id": 111,
        "category": "math",
        "turns": ["2+2?", "And 3+3?"],
        "reference": ["It is 4.", "It is 6."],
    },
    {"question_id": 121, "category": "coding", "turns": ["Code."]},
]
SINGLE = {
    "single-v1": "Q {question} A {answer}",
    "single-math-v1": "Q {question} REF {ref_answer_1} A {answer}",
    "single-v1-multi-turn": "{question_1}|{answer_1}|{question_2}|{answer_2}",
    "single-math-v1-multi-turn": "{ref_answer_1}|{ref_answer_2}|{answer_1}|{answer_2}",
}
PAIR = {
    "pair-v2": "Q {question} A {answer_a} B {answer_b}",
    "pair-math-v1": "Q {question} REF {ref_answer_1} A {answer_a} B {answer_b}",
    "pair-v2-multi-turn": "A {answer_a_1} {answer_a_2} B {answer_b_1} {answer_b_2}",
    "pair-math-v1-multi-turn": "REF {ref_answer_2} A {answer_a_2} B {answer_b_2}",
}


def write(folder, questions=QUESTIONS, templates=None):
    """Writes questions and the judge's prompts; returns their paths."""
    templates = {**SINGLE, **PAIR} if templates is None else templates
    prompts = [
        {"name": name, "system_prompt": "Judge.", "prompt_template": template}
        for name, template in templates.items()
    ]
    paths = []
    for name, rows in (("question", questions), ("judge_prompts", prompts)):
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths

"""People -> preferences: a study's store, and the page on which people judge answers.

`judgements` says what an item and a judgement are, `store` keeps them in one file of
the study's folder. Reading needs no optional package; the page needs the extra
`feedback`. What reads data sets, answers prompts or measures agreement is passed in.
"""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Item": "judgements",
        "Judgement": "judgements",
        "STUDY_FILE": "store",
        "Store": "store",
        "add_items": "store",
        "items": "store",
        "judgements": "store",
        "signed_strength": "judgements",
    },
)

"""Parts of the study of Llama 2's safety recipe: data, measures, student, report."""

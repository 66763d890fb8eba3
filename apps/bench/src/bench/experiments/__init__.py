"""What do tokenizers trained on Python source and on English prose do, and how do they differ?

Stage: the parts of the subject `tokenizer-experiments`: texts -> vocabularies -> *findings*.
"""

"""Rating by people, blind: two answers to one realistic prompt side by side, and which one is better.

    answers   what is put side by side: the first answers of an experiment and of what it is rated against
    order     in which order one rater sees the pairs, and on which side which answer stands
    ratings   ratings.jsonl, to which votes are appended, and ratings_key.json, which says whose answer is whose
    session   one rater's pairs and votes, as the page sees them
    render    Markdown of a model as HTML that only shows itself; `page` and `server` make and serve the page
    result    what the votes say
    section   the result as the model card has it
    command   `bbjspec rate`

Whose answer is whose is known to `answers`, `result` and the key file alone. A `Session` does not hold it, so that the
page cannot tell.
"""

"""The model factory as a Bytewax dataflow: it assembles datasets, trains, optimises, answers and announces."""

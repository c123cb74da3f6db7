"""Jobs under Ray Tune, on one machine or a cluster.

Ray executes and the journal of the run stays the one record: a Tune searcher is fed with the jobs of the search, and
what the trainings report goes back to it, message by message.
"""

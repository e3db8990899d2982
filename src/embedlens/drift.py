"""How far a user's ratings near in time lie from what one would expect of them.

A user's mood, the page of movies that was on the screen, a change of taste: whatever it is,
ratings given within a minute have something in common that a bias per user does not see.
"""

import numpy as np
import pandas as pd

from embedlens import data

SCALES = (10, 60, 600, 3600, 86_400, 2_592_000)  # seconds: from ten seconds to thirty days
PULL = 2.0  # counts like so many ratings as expected


def residuals(train_ratings, shrink=5.0):
    """What global mean, movie and user bias leave of each training rating.

    Parameters
    ----------
    train_ratings : pandas.DataFrame
        As from `data.train_valid_split`.
    shrink : float, default 5
        A bias is a sum of deviations over their number plus this.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        In stars.
    """
    left = train_ratings["rating"] - train_ratings["rating"].mean()
    for ids in ("movieIdDense", "userIdDense"):
        groups = left.groupby(train_ratings[ids])
        left = left - groups.transform("sum") / (groups.transform("size") + shrink)
    return left.to_numpy()


def user_drift(train_ratings, ratings, scales=SCALES, pull=PULL, past_only=False):
    """Average the residuals of the user's other training ratings, the nearer in time the more.

    Parameters
    ----------
    train_ratings : pandas.DataFrame
        As from `data.train_valid_split`, with timestamps.
    ratings : pandas.DataFrame
        Rows to describe, of the same frame. A row that is a training rating itself is left
        out of its own average.
    scales : sequence of float
        Seconds after which a rating's weight has fallen by the factor e.
    pull : float, default 2
        Weight of a residual of zero that is always there.
    past_only : bool, default False
        Use only ratings that were given before, or in the same second.

    Returns
    -------
    numpy.ndarray of float32, shape (len(ratings), len(scales))
        In stars. 0 for a user without training ratings.

    Raises
    ------
    ValueError
        If the ratings have no timestamps.

    Notes
    -----
    Koren (2009, Collaborative Filtering with Temporal Dynamics), section 3.2, lets a user's
    bias follow such kernels, and learns the residuals too.
    """
    for frame in (train_ratings, ratings):
        if "timestamp" not in frame:
            raise ValueError("no timestamps: read them with data.prepared(timestamps=True)")
    known = pd.DataFrame(
        {
            "user": train_ratings["userIdDense"],
            "time": train_ratings["timestamp"],
            "left": residuals(train_ratings),
            "row": train_ratings.index,
        }
    )
    by_user = dict(iter(known.groupby("user")))
    drift = np.zeros((len(ratings), len(scales)), "float32")
    for user, places in ratings.reset_index(drop=True).groupby("userIdDense").indices.items():
        if user not in by_user:
            continue
        others, asked = by_user[user], ratings.iloc[places]
        apart = asked["timestamp"].to_numpy()[:, None] - others["time"].to_numpy()
        left_out = asked.index.to_numpy()[:, None] == others["row"].to_numpy()
        if past_only:
            left_out |= apart < 0
        apart = np.where(left_out, np.inf, np.abs(apart)).astype("float32")
        for column, scale in enumerate(scales):
            weights = np.exp(-apart / scale)
            drift[places, column] = weights @ others["left"] / (weights.sum(axis=1) + pull)
    return drift


def with_drift(train_ratings, *frames, **options):
    """Copy frames of ratings and add the drift: a column per scale.

    Parameters
    ----------
    train_ratings, frames : pandas.DataFrame
        As in `user_drift`.
    **options
        As in `user_drift`.

    Returns
    -------
    list of pandas.DataFrame
        `train_ratings` itself first.
    """
    described = []
    for frame in (train_ratings, *frames):
        values = user_drift(train_ratings, frame, **options)
        columns = {f"drift_{number}": column for number, column in enumerate(values.T)}
        described.append(frame.assign(**columns))
    return described


def inputs(ratings):
    """Model input: the ids, as from `data.inputs`, and the drift, float32 of shape (n, scales)."""
    return data.inputs(ratings), ratings.filter(regex=r"^drift_\d+$").to_numpy("float32")

"""Multilayer perceptrons by scikit-learn's parameters, and learners around any network of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from heldout.errors import InputError, suggest
from heldout.neural.layers import (
    ELU,
    GELU,
    BatchNorm,
    Dense,
    Dropout,
    Identity,
    Layer,
    LeakyReLU,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
)
from heldout.neural.layers.initialization import INITIALIZATIONS
from heldout.neural.layers.masking import reads_padding
from heldout.neural.layers.stored import from_json, to_json
from heldout.neural.parameters import parameters
from heldout.neural.targets import NeuralClassification, NeuralRegression

if TYPE_CHECKING:
    from heldout.persist import State

ACTIVATIONS: dict[str, tuple[Layer, str]] = {  # the layer, and the initialization that suits it
    "relu": (ReLU(), "he"),
    "leaky_relu": (LeakyReLU(), "he"),
    "elu": (ELU(), "he"),
    "gelu": (GELU(), "he"),
    "silu": (SiLU(), "he"),
    "tanh": (Tanh(), "xavier"),
    "logistic": (Sigmoid(), "xavier"),
    "identity": (Identity(), "lecun"),
}


def perceptron(
    hidden_layer_sizes: int | Sequence[int],
    *,
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
    initialization: str = "auto",
    outputs: int | None = None,
) -> Sequential:
    """A multilayer perceptron as a stack of layers: for each hidden layer Dense, batch norm, activation, dropout.

    >>> perceptron((8, 4), outputs=2).names
    ('dense_1', 'relu_1', 'dense_2', 'relu_2', 'dense_3')
    """
    sizes = [hidden_layer_sizes] if isinstance(hidden_layer_sizes, int) else list(hidden_layer_sizes)
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise InputError(f"hidden_layer_sizes is {hidden_layer_sizes!r} and must be whole numbers above 0.")
    if activation not in ACTIVATIONS:
        raise InputError(f"There is no activation {activation!r}.{suggest(str(activation), ACTIVATIONS)}")
    if initialization != "auto" and initialization not in INITIALIZATIONS:
        known = ["auto", *INITIALIZATIONS]
        raise InputError(f"There is no initialization {initialization!r}.{suggest(str(initialization), known)}")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0.0 <= dropout < 1.0:
        raise InputError(f"dropout is {dropout!r} and must be 0 or more and below 1.")
    function, suited = ACTIVATIONS[activation]
    hidden = suited if initialization == "auto" else initialization
    layers: list[Layer] = []
    for size in sizes:
        layers += [Dense(size, initialization=hidden)]
        layers += [BatchNorm()] if batch_norm else []
        layers += [function]
        layers += [Dropout(float(dropout))] if dropout else []
    last = "xavier" if initialization == "auto" else initialization
    return Sequential(*layers, Dense(outputs, initialization=last))


@parameters
class _Perceptron:
    """The hidden layers as parameters, and the weights by scikit-learn's names."""

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str = "relu"
    dropout: float = 0.0
    batch_norm: bool = False
    initialization: str = "auto"
    params_: Any = field(init=False)

    def _architecture(self) -> Layer:
        return perceptron(
            self.hidden_layer_sizes,
            activation=self.activation,
            dropout=self.dropout,
            batch_norm=self.batch_norm,
            initialization=self.initialization,
        )

    @property
    def coefs_(self) -> list[Any]:
        """The weight matrices (inputs, outputs), layer by layer."""
        return [layer["weights"] for layer in _dense(self.params_)]

    @property
    def intercepts_(self) -> list[Any]:
        """The biases (outputs,), layer by layer."""
        return [layer["bias"] for layer in _dense(self.params_)]

    def _architecture_to_state(self) -> dict[str, Any]:
        sizes = self.hidden_layer_sizes
        return {
            "hidden_layer_sizes": sizes if isinstance(sizes, int) else list(map(int, sizes)),
            "activation": self.activation,
            "dropout": float(self.dropout),
            "batch_norm": bool(self.batch_norm),
            "initialization": self.initialization,
        }

    @classmethod
    def _architecture_from_state(cls, state: State) -> dict[str, Any]:
        sizes = state.json("hidden_layer_sizes")
        listed = sizes if isinstance(sizes, list) else [sizes]
        if not all(type(size) is int and 0 < size < 2**31 for size in listed):
            state.fail("'hidden_layer_sizes' must be whole numbers above 0")
        dropout = state.number("dropout", low=0.0)
        if dropout >= 1.0:
            state.fail("'dropout' must be below 1")
        return {
            "hidden_layer_sizes": tuple(sizes) if isinstance(sizes, list) else sizes,
            "activation": state.choice("activation", ACTIVATIONS),
            "dropout": dropout,
            "batch_norm": state.boolean("batch_norm"),
            "initialization": state.choice("initialization", ["auto", *INITIALIZATIONS]),
        }


def _dense(params: dict[str, Any]) -> list[dict[str, Any]]:
    names = sorted((name for name in params if name.startswith("dense_")), key=lambda name: int(name[6:]))
    return [params[name] for name in names]


@parameters
class _AnyNetwork:
    """The network as a parameter."""

    network: Layer | None = field(default=None, kw_only=False)

    def _architecture(self) -> Layer:
        if self.network is None:
            return perceptron((100,))
        if not isinstance(self.network, Layer):
            raise InputError(
                f"network is {self.network!r} and must be a layer, such as Sequential(Dense(8), ReLU(), Dense())."
            )
        return self.network

    @property
    def _padded(self) -> bool:
        return isinstance(self.network, Layer) and reads_padding(self.network)

    def _architecture_to_state(self) -> dict[str, Any]:
        return {"network": None if self.network is None else to_json(self.network)}

    @classmethod
    def _architecture_from_state(cls, state: State) -> dict[str, Any]:
        if not state.optional("network"):
            return {"network": None}
        try:
            return {"network": from_json(state.json("network"))}
        except InputError as error:
            state.fail(f"'network' is none: {str(error).rstrip('.')}")


@parameters
class MLPClassifier(_Perceptron, NeuralClassification):
    r"""A multilayer perceptron for classes: layers of weighted sums and activations, softmax at the end.

    .. math::
        a^{(0)} = x, \qquad z^{(l)} = a^{(l-1)} W^{(l)} + b^{(l)}, \qquad a^{(l)} = \sigma(z^{(l)}), \qquad
        p(y = k \mid x) = \text{softmax}(z^{(L)})_k

    The weights minimise the mean cross-entropy plus :math:`\lambda_1 \sum |W| + \frac{\alpha}{2} \sum W^2`, by
    stochastic gradients (see `heldout.neural.train`). Two classes have one output and a logistic loss.

    Parameters
    ----------
    hidden_layer_sizes : int above 0, or a sequence of them, default (100,)
    activation : {"relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "logistic", "identity"}, default "relu"
    dropout : float, 0 or more and below 1, default 0.0
        Share of each hidden layer's activations that is set to 0 in training.
    batch_norm : bool, default False
        Batch normalization before each activation.
    initialization : {"auto", "he", "xavier", "lecun", "orthogonal"}, default "auto"
        "auto": He for the kin of ReLU, Xavier for tanh, logistic and the last layer.
    loss : {"log_loss", "hinge"} or Loss, default "log_loss"
        `CrossEntropy(label_smoothing=0.1)`, say. With the hinge there are no probabilities.
    class_weight : None, "balanced" or dict from class label to weight, default None
    solver : {"adam", "adamw", "sgd", "momentum", "nesterov", "rmsprop"}, default "adam"
    alpha : float, not negative, default 1e-4
        Strength of the L2 penalty on weight matrices; it is not divided by the number of rows.
    l1 : float, not negative, default 0.0
        λ₁, strength of the L1 penalty.
    weight_decay : float, not negative, default 0.0
        Decoupled from the gradient, as in AdamW.
    clip_norm : float above 0, or None, default None
        Longest gradient.
    momentum, beta_1, beta_2, epsilon : float, default 0.9, 0.9, 0.999, 1e-8
        Of the solver (see `heldout.neural.optimizers.Optimizer`).
    batch_size : int above 0, or "auto", default "auto"
        "auto": all rows up to 200, then about twice the root of their number, from 32 to 256.
    learning_rate : {"constant", "step", "cosine", "warm_up", "warm_up_cosine", "one_cycle", "plateau"} or Schedule
        How the rate changes over the epochs; default "constant".
    learning_rate_init : float above 0, default 1e-3
        The highest rate; `learning_rate_range_test` helps to choose it.
    max_iter : int above 0, or "auto", default "auto"
        Most epochs, each a pass over the rows. "auto": 200 epochs, where rows are few of several passes, so that each
        makes 20 steps at least.
    tol : float, not negative, default 1e-4
    n_iter_no_change : int above 0, or "auto", default "auto"
        Training ends when so many epochs in a row have not lowered the loss by `tol`; "auto" is 10. It is the
        validation loss where there are validation rows, otherwise that of training.
    early_stopping : bool or "auto", default "auto"
        Hold out some of the rows to judge by, unless `fit` is given validation rows; "auto": from 200 rows on.
    validation_fraction : float between 0 and 1, or "auto", default "auto"
        Share of the rows that is held out; "auto": 0.2 below 1,000 rows, then 0.1. Rows that are the same throughout
        stay together, up to 20,000 rows.
    standardise : bool or "auto", default "auto"
        Read inputs in standard deviations from their mean; "auto": but bytes (uint8) as shares of 255.
    precision : {"auto", "single", "double"}, default "auto"
        "auto": double on the CPU where rows times weights are up to 10⁸ and inputs are not float32.
    device : {"cpu", "gpu", "tpu"} or None, default None
        None is JAX's choice.
    chunk_rows : int above 0, or None, default None
        Rows on the device at a time, the next ones on their way meanwhile. None: all, or as many as fit a quarter of
        its memory.
    checkpoint : path, or None, default None
        A file that is written after each epoch, whole or not at all, for `fit(..., resume=path)`.
    warm_start : bool, default False
        A further `fit` goes on from the weights of the last.
    verbose : bool, default False
        Show progress and the time left.
    seed : int, not negative, default 0

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    network_ : Layer, the whole network
    params_, state_ : nested dicts of arrays, by the names of the layers: weights, running statistics
    coefs_, intercepts_ : lists of arrays, the weights of the dense layers
    history_ : History, loss and accuracy of each epoch; prints and plots
    n_iter_ : int, epochs
    loss_ : float, the training loss of the last epoch
    best_loss_ : float, the loss of the epoch that was kept, on validation rows where there were any
    loss_curve_ : list of float, the training loss of each epoch
    input_mean_, input_scale_ : arrays of a row's shape, or ()
    precision_ : "single" or "double"
    multilabel_ : bool, whether each row has several labels
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is out of range, or there is only one class.
    WorkError : the loss was not finite before an epoch was over.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    Notes
    -----
    Where all rows make one batch (up to 200) and nothing is random, a row of weight k counts as k rows. The same seed
    gives the same weights, bit by bit, on one machine and number of cores.

    References
    ----------
    D. Rumelhart, G. Hinton and R. Williams, Nature 323, 1986. C. Bishop, Pattern Recognition and Machine Learning,
    2006, chapter 5.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier().fit(X, y)
    >>> model.score(X, y) > 0.97
    True
    >>> int(model.predict_proba(X[:1]).argmax())
    0
    """


@parameters
class MLPRegressor(_Perceptron, NeuralRegression):
    r"""A multilayer perceptron for numbers: layers of weighted sums and activations, the last one without.

    .. math::
        a^{(0)} = x, \qquad z^{(l)} = a^{(l-1)} W^{(l)} + b^{(l)}, \qquad a^{(l)} = \sigma(z^{(l)}), \qquad
        \hat y = z^{(L)}

    The weights minimise the mean loss plus :math:`\lambda_1 \sum |W| + \frac{\alpha}{2} \sum W^2`. Inputs and targets
    are standardised; predictions are in the target's unit. All parameters but these are those of `MLPClassifier`.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber"} or Loss, default "squared_error"
        Of the standardised target.
    standardise : bool or "auto", default "auto"
        Of the inputs, as for the classifier; targets always are.

    Attributes
    ----------
    target_mean_, target_scale_ : float64 arrays (m,)
    target_shape_ : (m,), or () where y was (n,)
    The others are those of `MLPClassifier`, but for its classes.

    Raises
    ------
    InputError : a parameter is out of range.
    WorkError : the loss was not finite before an epoch was over.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    C. Bishop, Pattern Recognition and Machine Learning, 2006, chapter 5.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> model = MLPRegressor().fit(X, np.abs(X[:, 0]))
    >>> model.score(X, np.abs(X[:, 0])) > 0.95
    True
    """


@parameters
class NeuralClassifier(_AnyNetwork, NeuralClassification):
    r"""Any network of layers as a classifier: its outputs are scores, the loss applies softmax to them.

    Parameters
    ----------
    network : Layer, default None
        Ends with `Dense()`, whose units are then as many as there are classes (one for two), or with K outputs. None:
        one hidden layer of 100 ReLUs.

    The others are those of `MLPClassifier`, from `loss` on.

    Attributes
    ----------
    As those of `MLPClassifier`, without `coefs_` and `intercepts_`: weights are in `params_`, by layer.

    Raises
    ------
    InputError : a parameter is out of range, the network does not fit the rows or the classes.
    WorkError : the loss was not finite before an epoch was over.

    References
    ----------
    I. Goodfellow, Y. Bengio and A. Courville, Deep Learning, 2016, chapters 6 to 8.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from heldout.neural.layers import Dense, Dropout, ReLU, Residual, Sequential
    >>> X, y = load_iris(return_X_y=True)
    >>> block = Residual(Sequential(Dense(32), ReLU(), Dense(32)))
    >>> model = NeuralClassifier(Sequential(Dense(32), ReLU(), block, Dropout(0.1), Dense())).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """


@parameters
class NeuralRegressor(_AnyNetwork, NeuralRegression):
    r"""Any network of layers as a regressor: its outputs are the standardised targets.

    Parameters
    ----------
    network : Layer, default None
        Ends with `Dense()`, whose units are then as many as the targets of a row, or with so many outputs. None: one
        hidden layer of 100 ReLUs.

    The others are those of `MLPRegressor`, from `loss` on.

    Attributes
    ----------
    As those of `MLPRegressor`, without `coefs_` and `intercepts_`: weights are in `params_`, by layer.

    Raises
    ------
    InputError : a parameter is out of range, or the network does not fit the rows or the targets.
    WorkError : the loss was not finite before an epoch was over.

    References
    ----------
    I. Goodfellow, Y. Bengio and A. Courville, Deep Learning, 2016, chapters 6 to 8.

    Examples
    --------
    >>> import numpy as np
    >>> from heldout.neural.layers import Dense, Sequential, Tanh
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> model = NeuralRegressor(Sequential(Dense(20), Tanh(), Dense())).fit(X, X[:, 0] ** 2)
    >>> model.score(X, X[:, 0] ** 2) > 0.9
    True
    """

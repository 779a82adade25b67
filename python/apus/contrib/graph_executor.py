"""The executor of a whole model."""

from ..nd import NDArray
from ..runtime import Module


class GraphModule:
    """`GraphModule(module["default"](device))`: set_input, run, get_output."""

    def __init__(self, module: Module):
        self.module = module
        self._set_input = module["set_input"]
        self._run = module["run"]
        self._get_output = module["get_output"]

    def set_input(self, key=None, value=None, **params):
        """One input by name or number, or several by keyword."""
        if key is not None:
            self._set_input(key, value)
        for name in params:
            self._set_input(name, params[name])

    def set_input_zero_copy(self, key, value):
        self.module["set_input_zero_copy"](key, value)

    def run(self, **inputs):
        self.set_input(**inputs)
        self._run()

    def get_output(self, index, out=None) -> NDArray:
        """The output, valid until the next run; or a copy into `out`."""
        if out is None:
            return self._get_output(index)
        self._get_output(index, out)
        return out

    def get_input(self, key) -> NDArray:
        return self.module["get_input"](key)

    def get_num_inputs(self):
        return self.module["get_num_inputs"]()

    def get_num_outputs(self):
        return self.module["get_num_outputs"]()

    def get_input_index(self, name):
        return self.module["get_input_index"](name)

    def get_input_info(self):
        """A list of {name, shape, dtype}."""
        return self.module["get_input_info"]()

    def get_output_info(self):
        return self.module["get_output_info"]()

    def load_params(self, params):
        """A path of a parameter file or a dict of tensors."""
        self.module["load_params"](params)

    def share_params(self, other, names):
        self.module["share_params"](other.module, list(names))

    def profile(self, runs=1):
        """A list of [kernel, label, median nanoseconds], in order of execution."""
        return self.module["profile"](runs)

    def __getitem__(self, name):
        return self.module[name]


def create(factory, device):
    """An executor of a loaded model on a device."""
    return GraphModule(factory["default"](device))

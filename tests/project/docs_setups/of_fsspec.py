import datasets
import pandas as pd
import xarray

import durably

a = c = b"{}"
df = pd.DataFrame({"day": [1, 2]})
ds = datasets.Dataset.from_dict({"day": [1, 2]})
xr_ds = xarray.Dataset({"day": ("x", [1, 2])})
datasets.disable_progress_bars()

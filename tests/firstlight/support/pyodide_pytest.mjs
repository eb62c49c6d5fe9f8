// Run pytest in Pyodide, which is CPython 3.14 compiled to WebAssembly:
//   node pyodide_pytest.mjs PYODIDE CHECKOUT PACKAGES DIRECTORY PRELUDE ARGUMENTS...
// PACKAGES is a site-packages directory, of which only pure-Python packages can be imported. PRELUDE is Python code that
// runs before pytest. Temporary files are written to DIRECTORY.
import { pathToFileURL } from "node:url";

const [pyodideDir, checkout, packages, directory, prelude, ...args] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${pyodideDir}/pyodide.mjs`));
const env = { HOME: "/work", PYTHONDONTWRITEBYTECODE: "1", PYTEST_DISABLE_PLUGIN_AUTOLOAD: "1" };
const pyodide = await loadPyodide({ env });
pyodide.mountNodeFS("/checkout", checkout);
pyodide.mountNodeFS("/packages", packages);
pyodide.mountNodeFS("/work", directory);
pyodide.globals.set("ARGUMENTS", pyodide.toPy(["-p", "no:cacheprovider", "--basetemp=/work/pytest", "--capture=sys", ...args]));
pyodide.globals.set("PRELUDE", prelude);
try {
  process.exitCode = pyodide.runPython(`
import io, os, pathlib, sys, types, zipfile
# config/schema.py reads the sources of classes, including those of the standard library.
stdlib = pathlib.Path(next(path for path in sys.path if path.endswith(".zip")))
archive = zipfile.ZipFile(io.BytesIO(stdlib.read_bytes()))
stdlib.unlink()
archive.extractall(stdlib)
sys.path_importer_cache.clear()
# The only module of the standard library that the commands need and Pyodide lacks.
limits = {"RLIMIT_NOFILE": 7, "RLIM_INFINITY": -1, "getrlimit": lambda kind: (256, 256), "setrlimit": lambda kind, limits: None}
sys.modules["resource"] = types.SimpleNamespace(**limits)
os.chdir("/checkout")
sys.path[:0] = ["/checkout/src", "/packages"]
exec(PRELUDE)
import pytest
print(f"Python {sys.version}")
int(pytest.main(ARGUMENTS))
`);
} catch (error) {
  console.log(error.message);
  process.exitCode = 1;
}

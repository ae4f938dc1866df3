/* python.exe: starts the interpreter that is in the library beside it. */
#include <stdio.h>
#include <windows.h>

typedef int (*entry)(int, wchar_t **);

int wmain(int count, wchar_t **arguments)
{
    HMODULE library = LoadLibraryExW(PYTHON, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    entry start = library ? (entry)(void *)GetProcAddress(library, "Py_Main") : NULL;
    if (!start) {
        fprintf(stderr, "cannot load the interpreter: Windows error %lu\n", GetLastError());
        return 70;
    }
    return start(count, arguments);
}

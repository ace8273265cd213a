// One translation unit: the functions that Python gives (buffers.h) are there once.
#include "ks_matmat.cpp"
#include "chain.cpp"
#include "split.cpp"
#include "filterbank.cpp"
#include "shifts.cpp"
#include "limits.cpp"
#include "pack.cpp"
#include "grad.cpp"

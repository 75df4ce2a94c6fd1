#include "kinds.S"

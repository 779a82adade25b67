// Counts the calls of malloc and its family in this process, all threads together.
#ifndef COUNT_ALLOCATIONS_H
#define COUNT_ALLOCATIONS_H

/// Blocks asked for since the process started.
long allocations_blocks(void);
/// Bytes asked for since the process started.
long allocations_bytes(void);

#endif

// Package rows measures the rows of the table in docs/performance.md. Each row starts the simulated
// peers, the exporter and, where it compares, other programs, one after the other in the same network
// namespace, and judges what they did by the simulator's own counts.
//
// CPU is the run time of all threads (/proc/PID/task/*/schedstat) per 1,000 probes that the simulator
// received. Loss is false if the exporter counts an echo as lost that the simulator answered: echoes
// are counted when they are decided, so nothing in flight looks like loss.
//
// A row with a shorter duration or fewer peers has the same checks; its numbers are those of a
// smaller load.
package rows

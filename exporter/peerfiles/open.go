//go:build unix

package peerfiles

import "syscall"

// withoutWaiting opens a pipe that has no writer without waiting for one.
const withoutWaiting = syscall.O_NONBLOCK

//go:build !unix

package peerfiles

// withoutWaiting is nothing: files here are not pipes.
const withoutWaiting = 0

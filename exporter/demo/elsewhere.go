//go:build !linux

package demo

import (
	"context"
	"errors"
)

// ErrReported means that the demo failed and that its other process has reported the error: there is
// none here.
var ErrReported = errors.New("the demo failed")

// Run reports that this operating system is not Linux.
func Run(context.Context, Options) error {
	return errors.New("the demo needs Linux: it builds its providers from network namespaces")
}

//go:build !linux

package history

import (
	"errors"
	"os"
)

// lock refuses: only a program that measures has a history, and that needs Linux.
func lock(*os.File) error { return errors.New("a history on disk needs Linux") }

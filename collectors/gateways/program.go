package gateways

import (
	"io"
	"os"
	"os/exec"
)

// FindProgram returns the path of a configured control program, and whether it is a script, which an
// interpreter runs.
func FindProgram(name string) (path string, script bool, err error) {
	if path, err = exec.LookPath(name); err != nil {
		return "", false, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	var first [2]byte
	_, err = io.ReadFull(f, first[:])
	return path, string(first[:]) == "#!", err
}

package readers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"ipsec_path_exporter/exporter/config"
)

// FileProblems returns which files of gateways cannot be used, each with its place in the
// configuration: secrets that cannot be read, are empty or can be read by everybody, host keys that
// lack the device, and files of certificates that hold none. No problem repeats a secret.
func FileProblems(all ...config.Gateway) []string {
	var lines []string
	for i := range all {
		for _, f := range all[i].Cisco.Files() {
			why, mode := fileProblem(f.Path)
			if why != "" {
				why = f.Path + " " + why
			} else if err := f.Check(); err != nil {
				why = err.Error()
			} else if f.Secret && mode.Perm()&othersRead != 0 {
				why = f.Path + " is readable by every user of this host: remove that permission (chmod o-r)"
			}
			if why != "" {
				lines = append(lines, fmt.Sprintf("gateways (%q): %s: %s", all[i].Name, f.Key, why))
			}
		}
	}
	return lines
}

// othersRead is the permission that a secret must not have.
const othersRead = 0o004

// fileProblem returns why a file that a gateway needs cannot be read.
func fileProblem(file string) (why string, mode fs.FileMode) {
	info, err := os.Stat(file) // before it is opened: a pipe would wait for a writer
	if err == nil && !info.Mode().IsRegular() {
		return "is not a regular file", 0
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(file)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist: the gateway cannot be read until it does", 0
	case errors.Is(err, fs.ErrPermission):
		return "is not readable by this process", 0
	case err != nil:
		return "cannot be read", 0
	}
	f.Close()
	return "", info.Mode()
}

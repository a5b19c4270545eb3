package readers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"ipsec_path_exporter/exporter/config"
)

// FileProblems returns which files of secrets cannot be read or can be read by everybody, and which
// files of host keys or certificates cannot be read.
func FileProblems(all ...config.Gateway) []string {
	var lines []string
	for i := range all {
		g := &all[i]
		for _, file := range g.Secrets() {
			if why := secretProblem(file); why != "" {
				lines = append(lines, fmt.Sprintf("gateway %s: the secret %s %s", g.Name, file, why))
			}
		}
		for _, file := range g.Trusted() {
			if why, _ := fileProblem(file); why != "" {
				lines = append(lines, fmt.Sprintf("gateway %s: %s %s", g.Name, file, why))
			}
		}
	}
	return lines
}

// secretProblem returns what is wrong with a file that holds a secret.
func secretProblem(file string) string {
	const othersRead = 0o004
	why, mode := fileProblem(file)
	if why == "" && mode.Perm()&othersRead != 0 {
		return "is readable by every user of this host: remove that permission (chmod o-r)"
	}
	return why
}

// fileProblem returns why a file that a gateway needs cannot be read.
func fileProblem(file string) (why string, mode fs.FileMode) {
	f, err := os.Open(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist: the gateway cannot be read until it does", 0
	case errors.Is(err, fs.ErrPermission):
		return "is not readable by this process", 0
	case err != nil:
		return "cannot be read", 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "is not a regular file", 0
	}
	return "", info.Mode()
}

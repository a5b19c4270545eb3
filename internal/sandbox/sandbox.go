// Package sandbox takes from the running program the rights that it no longer needs: all
// capabilities but a few, the privileges of programs that it may run, and files that it has no use
// for.
//
//	Enter: no_new_privs ──▶ Landlock: files of the Rules only ──▶ capabilities outside of Kept dropped
//
// What is taken does not come back, also not by running another program. Open files and sockets
// are not affected. All of it holds for every thread, present and future.
package sandbox

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// Rules are the files that the program may still use.
type Rules struct {
	// Read are files and directories that may be read, with everything below them. Write are
	// directories in which files may be read, written, made and removed.
	Read, Write []string
	// Run are programs that may be run.
	Run []string
}

// An Outcome is what the program is left with.
type Outcome struct {
	// Kept and Dropped are names of capabilities, such as net_raw, that the program had.
	Kept, Dropped []string
	// Landlock is the version of the kernel's Landlock interface, 0 where the kernel has none: then
	// the files are not restricted.
	Landlock int
	// Bounded means that programs which the program runs cannot gain capabilities either. This
	// needs CAP_SETPCAP; without it, no_new_privs alone keeps them from that.
	Bounded bool
}

// ErrUnsupported means that this build cannot change the rights of all its threads: it is not for
// Linux, or it uses cgo.
var ErrUnsupported = errors.New("needs Linux and a program built with CGO_ENABLED=0")

// Covers reports whether the rules let a file be read, by its name and by the name of the file that
// symbolic links lead to.
func (r *Rules) Covers(path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	real := resolved(abs)
	return slices.ContainsFunc(slices.Concat(r.Read, r.Write), func(dir string) bool { return below(real, resolved(dir)) })
}

// CoversProgram reports whether the rules let a program be run.
func (r *Rules) CoversProgram(path string) bool { return slices.Contains(r.Run, path) }

// resolved follows the symbolic links of a path, as far as it exists.
func resolved(path string) string {
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// below reports whether a path is a directory or below it. Both are absolute and clean.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	errInvalid = errors.New("want HOST/PATH as in github.com/OWNER/ipsec_path_exporter")
	errDirty   = errors.New("working tree has changes (commit or stash them first)")
)

// validPath matches what `go install` can resolve: a host with a dot, then at least one element.
var validPath = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*(\.[a-z0-9-]*[a-z0-9])+(/[A-Za-z0-9_~-]+(\.[A-Za-z0-9_~-]+)*)+$`)

// rename gives the module in root the path to, and returns the number of files it rewrote.
func rename(ctx context.Context, root, to string) (int, error) {
	if !validPath.MatchString(to) {
		return 0, fmt.Errorf("module path %q: %w", to, errInvalid)
	}
	changes, err := git(ctx, root, "status", "--porcelain")
	if err != nil {
		return 0, err
	}
	if len(changes) > 0 {
		return 0, errDirty
	}
	files, err := tracked(ctx, root)
	if err != nil {
		return 0, err
	}
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return 0, err
	}
	from, err := modulePath(gomod)
	if err != nil {
		return 0, err
	}
	r := newRenaming(from, to, files)
	n := 0
	for _, name := range files {
		changed, err := r.file(filepath.Join(root, name))
		if err != nil {
			return n, err
		}
		if changed {
			n++
		}
	}
	return n, nil
}

// git returns the output of a git command.
func git(ctx context.Context, root string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // this program makes the arguments
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return out, nil
}

// tracked lists the files of the repository.
func tracked(ctx context.Context, root string) ([]string, error) {
	out, err := git(ctx, root, "ls-files", "-z")
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
}

var moduleLine = regexp.MustCompile(`(?m)^module (\S+)$`)

func modulePath(gomod []byte) (string, error) {
	m := moduleLine.FindSubmatch(gomod)
	if m == nil {
		return "", errors.New("go.mod: no module line")
	}
	return string(m[1]), nil
}

// A renaming replaces one module path by another.
type renaming struct {
	from, to string
	// mentions match the module path in text: in front of a folder with Go code or a version, and
	// as the formatter's setting. The bare word is the name of the program and stays.
	mentions []*regexp.Regexp
}

func newRenaming(from, to string, files []string) renaming {
	folders := make(map[string]bool)
	for _, name := range files {
		if folder, _, ok := strings.Cut(name, "/"); ok && path.Ext(name) == ".go" {
			folders[regexp.QuoteMeta(folder)] = true
		}
	}
	code, old := strings.Join(slices.Sorted(maps.Keys(folders)), "|"), regexp.QuoteMeta(from)
	return renaming{from: from, to: to, mentions: []*regexp.Regexp{
		regexp.MustCompile(`(?m)(^|[^\w./~-])` + old + `(/(?:` + code + `)\b|@)`),
		regexp.MustCompile(`(?m)(module-path: +)` + old + `(\s)`),
	}}
}

// file rewrites a file and reports whether it changed.
func (r renaming) file(name string) (bool, error) {
	var rewrite func([]byte) ([]byte, error)
	switch {
	case filepath.Base(name) == "go.mod":
		rewrite = r.goMod
	case filepath.Ext(name) == ".go":
		rewrite = r.imports
	case slices.Contains([]string{".md", ".yml", ".yaml"}, filepath.Ext(name)):
		rewrite = r.text
	default:
		return false, nil
	}
	before, err := os.ReadFile(name)
	if err != nil {
		return false, err
	}
	after, err := rewrite(before)
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	if bytes.Equal(before, after) {
		return false, nil
	}
	return true, os.WriteFile(name, after, 0o644) //nolint:gosec // the mode counts for new files only
}

// path replaces a package or module path, if it is one of the module.
func (r renaming) path(p string) (string, bool) {
	rest, ok := strings.CutPrefix(p, r.from)
	return r.to + rest, ok && (rest == "" || rest[0] == '/')
}

func (r renaming) goMod(b []byte) ([]byte, error) {
	old, err := modulePath(b)
	if err != nil {
		return nil, err
	}
	p, ok := r.path(old)
	if !ok {
		return b, nil
	}
	return bytes.Replace(b, []byte("module "+old), []byte("module "+p), 1), nil
}

func (r renaming) imports(b []byte) ([]byte, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", b, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	for _, spec := range slices.Backward(file.Imports) { // from the end, so that offsets stay valid
		old, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if p, ok := r.path(old); ok {
			at := fset.Position(spec.Path.Pos()).Offset
			b = slices.Replace(b, at, at+len(spec.Path.Value), []byte(strconv.Quote(p))...)
		}
	}
	return b, nil
}

func (r renaming) text(b []byte) ([]byte, error) {
	for _, m := range r.mentions {
		b = m.ReplaceAll(b, []byte("${1}"+r.to+"${2}"))
	}
	return b, nil
}

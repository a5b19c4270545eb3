package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const newPath = "github.com/example/ipsec_path_exporter"

// command runs a program in dir and returns its output.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	// GOFLAGS of the caller may turn off -buildvcs.
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits all files of a repository and returns the revision.
func commit(t *testing.T, dir string) string {
	t.Helper()
	command(t, dir, "git", "add", "--all", "--force")
	command(t, dir, "git", "-c", "user.name=test", "-c", "user.email=test@example.net", "commit", "--quiet", "--message=test")
	return command(t, dir, "git", "rev-parse", "HEAD")
}

// repository makes a repository with the given files.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), []byte(text))
	}
	command(t, dir, "git", "init", "--quiet")
	commit(t, dir)
	return dir
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// copyOfTree makes a repository with the tracked files of this one, as they are now.
func copyOfTree(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..")
	names, err := tracked(t.Context(), root)
	if err != nil {
		t.Skipf("SKIPPED: this tree is not a git repository: %v", err)
	}
	files := make(map[string]string)
	for _, name := range names {
		if b, err := os.ReadFile(filepath.Join(root, name)); err == nil { // else: deleted, not yet committed
			files[name] = string(b)
		}
	}
	return repository(t, files)
}

// TestRenamedTree renames a copy of this tree. The copy builds, its program prints the revision
// that `go build` recorded, and no file names a package by the old path.
func TestRenamedTree(t *testing.T) {
	dir := copyOfTree(t)
	old, err := modulePath([]byte(read(t, filepath.Join(dir, "go.mod"))))
	if err != nil {
		t.Fatal(err)
	}
	n, err := rename(t.Context(), dir, newPath)
	if err != nil || n < 100 {
		t.Fatalf("%d files rewritten, %v", n, err)
	}
	for _, nested := range []string{"", "dashboards/gen", "tools/promqlcheck", "tools/golangci"} {
		want := strings.TrimSuffix(newPath+"/"+nested, "/")
		if got, err := modulePath([]byte(read(t, filepath.Join(dir, nested, "go.mod")))); got != want || err != nil {
			t.Errorf("go.mod in %q: module %s, %v; want %s", nested, got, err, want)
		}
	}
	lint := read(t, filepath.Join(dir, ".golangci.yml"))
	if got := strings.Count(lint, newPath); got < 5 || strings.Contains(lint, " "+old+"/") {
		t.Errorf(".golangci.yml names the new path %d times:\n%s", got, lint)
	}
	names, err := tracked(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if filepath.Ext(name) == ".go" && strings.Contains(read(t, filepath.Join(dir, name)), `"`+old+`/`) {
			t.Errorf("%s names a package by the old path", name)
		}
	}

	revision := commit(t, dir)
	bin := t.TempDir()
	// With -trimpath the build cache serves the next copy, in another directory, too.
	command(t, dir, "go", "build", "-trimpath", "-buildvcs=true", "-o", bin, "./...")
	command(t, dir, "go", "vet", "./internal/wire/...")
	command(t, dir, "go", "test", "-v", "./internal/policy", "-run", "TestExporterIsOnTop|TestCheck")
	got := command(t, dir, filepath.Join(bin, "ipsec_path_exporter"), "--version")
	committed := command(t, dir, "git", "-c", "core.quotePath=false", "log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%dT%H:%M")
	for _, want := range []string{"revision: " + revision + ")", committed} {
		if !strings.Contains(got, want) {
			t.Errorf("--version of a plain build lacks %q:\n%s", want, got)
		}
	}
}

func TestRewrites(t *testing.T) {
	r := newRenaming("a_b", "h.org/a_b", []string{"main.go", "in/x.go", "docs/x.md", "ex/y/z.go"})
	for name, c := range map[string]struct {
		rewrite   func([]byte) ([]byte, error)
		old, want string
	}{
		"module":         {r.goMod, "module a_b\n\nrequire a_b/x v1\n", "module h.org/a_b\n\nrequire a_b/x v1\n"},
		"nested module":  {r.goMod, "module a_b/gen\n", "module h.org/a_b/gen\n"},
		"foreign module": {r.goMod, "module a_bc\n", "module a_bc\n"},
		"imports": {
			r.imports, "package p\n\nimport (\n\t\"a_b/in\"\n\tx \"a_b\"\n\t\"a_bc/in\"\n)\n\nvar s = \"a_b/in\"\n",
			"package p\n\nimport (\n\t\"h.org/a_b/in\"\n\tx \"h.org/a_b\"\n\t\"a_bc/in\"\n)\n\nvar s = \"a_b/in\"\n",
		},
		"linter":        {r.text, "- {pkg: a_b/ex, desc: no}\nmodule-path: a_b\n", "- {pkg: h.org/a_b/ex, desc: no}\nmodule-path: h.org/a_b\n"},
		"install":       {r.text, "`go install a_b@latest`", "`go install h.org/a_b@latest`"},
		"program":       {r.text, "# a_b\n\nrun a_b check, /etc/a_b/in\n", "# a_b\n\nrun a_b check, /etc/a_b/in\n"},
		"not a package": {r.text, "a_b/docs h.org/a_b/in", "a_b/docs h.org/a_b/in"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := c.rewrite([]byte(c.old)); string(got) != c.want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	files := map[string]string{"go.mod": "module a_b\n", "x.go": "package x\n"}
	dir := repository(t, files)
	for _, path := range []string{"", "ipsec_path_exporter", "github.com", "https://github.com/a/b", "github.com/a/b/", "github.com/a b", "github.com/../b", "GitHub.com/a/b"} {
		if _, err := rename(t.Context(), dir, path); !errors.Is(err, errInvalid) {
			t.Errorf("path %q: %v, want %v", path, err, errInvalid)
		}
	}
	write(t, filepath.Join(dir, "y.go"), []byte("package x\n"))
	if _, err := rename(t.Context(), dir, newPath); !errors.Is(err, errDirty) {
		t.Errorf("dirty tree: %v, want %v", err, errDirty)
	}
	for name, want := range files {
		if got := read(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s was rewritten: %q", name, got)
		}
	}
	if got, err := tracked(t.Context(), dir); err != nil || !slices.Equal(got, []string{"go.mod", "x.go"}) {
		t.Errorf("tracked: %v, %v", got, err)
	}
}

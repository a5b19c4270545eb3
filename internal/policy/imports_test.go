package policy

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module returns the prefix of the import paths of this module. It is read, because the module can
// be renamed.
func module(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimPrefix(first, "module ") + "/"
}

// imports are the packages of this module that each of its packages imports, tests aside.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	all, ours := make(map[string][]string), module(t)
	fset := token.NewFileSet()
	goFiles(t, func(file string) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(fset, file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		if _, seen := all[dir]; !seen {
			all[dir] = nil
		}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if p, found := strings.CutPrefix(name, ours); found && !slices.Contains(all[dir], p) {
				all[dir] = append(all[dir], p)
			}
		}
	})
	return all
}

// reach returns the packages of this module that one of them needs, itself included, each with the
// imports that lead there.
func reach(all map[string][]string, from string) map[string][]string {
	ways := map[string][]string{from: {from}}
	for next := []string{from}; len(next) > 0; next = next[1:] {
		for _, p := range all[next[0]] {
			if _, seen := ways[p]; !seen {
				ways[p] = append(slices.Clip(ways[next[0]]), p)
				next = append(next, p)
			}
		}
	}
	return ways
}

// TestExporterIsOnTop: the packages below exporter do not need the running program.
func TestExporterIsOnTop(t *testing.T) {
	all := imports(t)
	for _, name := range []string{
		"subject", "check", "config", "readers", "discovery", "resolve", "suite", "diagnosis", "report", "web", "store", "exposition",
		"schedule", "history", "trace", "tunnelmtu", "peerfiles", "shard", "probe",
	} {
		from := path.Join("exporter", name)
		if _, exists := all[from]; !exists {
			t.Errorf("there is no package %s", from)
		}
		if way := reach(all, from)["exporter"]; way != nil {
			t.Errorf("the running program is needed: %s", strings.Join(way, " imports "))
		}
	}
}

// TestCheckOpensNoStoreScheduleOrHistory: a one-shot check keeps nothing and schedules nothing.
func TestCheckOpensNoStoreScheduleOrHistory(t *testing.T) {
	all := imports(t)
	check, serve := reach(all, "exporter/check"), reach(all, "exporter")
	for _, to := range []string{"exporter/store", "exporter/schedule"} {
		if way := check[to]; way != nil {
			t.Errorf("check must not need %s: %s", to, strings.Join(way, " imports "))
		}
		if serve[to] == nil {
			t.Errorf("the running program does not need %s: does this test look for the right package?", to)
		}
	}
	// A report uses the types of the history, so check imports it. It must not open one.
	opens := func(dir string) (found bool) {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || !strings.HasSuffix(file, "_test.go") && strings.Contains(string(b), "history.Open(")
		}
		return found
	}
	for dir := range check {
		if opens(dir) {
			t.Errorf("%s opens the history, and check needs it", dir)
		}
	}
	if !opens("exporter") {
		t.Error("the running program opens no history: does this test look for the right function?")
	}
}

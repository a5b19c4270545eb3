package policy

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// maxLines is how long a source file may be: beyond it, it has more than one subject.
const maxLines = 500

// goFiles calls f for every Go file of the root module.
func goFiles(t *testing.T, f func(path string)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || nested(path)):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			n++
			f(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 20 {
		t.Fatalf("found only %d Go files below %s", n, root)
	}
}

// nested reports whether a directory is a module of its own.
func nested(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func TestEveryPackageSaysWhatItDoes(t *testing.T) {
	docs := make(map[string]string)
	fset := token.NewFileSet()
	goFiles(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(fset, path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		docs[filepath.Dir(path)] += file.Doc.Text()
	})
	for dir, doc := range docs {
		if len(doc) < 80 {
			t.Errorf("%s: the package comment says too little: %q", dir, doc)
		}
	}
}

func TestFilesStaySmall(t *testing.T) {
	goFiles(t, func(path string) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n := 0
		for s := bufio.NewScanner(f); s.Scan(); {
			n++
		}
		if n > maxLines {
			t.Errorf("%s has %d lines, more than %d", path, n, maxLines)
		}
	})
}

func TestNoInitNorVagueNames(t *testing.T) {
	fset := token.NewFileSet()
	goFiles(t, func(path string) {
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		switch file.Name.Name {
		case "util", "utils", "helper", "helpers", "common", "misc":
			t.Errorf("%s: package name %s says nothing", path, file.Name.Name)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s: init() runs behind the reader's back", fset.Position(f.Pos()))
			}
		}
	})
}

func TestModulesAreUsedAsPublished(t *testing.T) {
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "go.mod" {
			return err
		}
		n++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "replace ") && !strings.Contains(line, "=> ../") {
				t.Errorf("%s: %s", path, line)
			}
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("%d modules, %v", n, err)
	}
}

package promqlcheck

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// root is the project.
const root = "../.."

// shipped is what the project ships.
type shipped struct {
	catalog *Catalog
	rules   []Rule
	boards  []Source
	blocks  []Source
	// hasBoards reports whether there are boards.
	hasBoards bool
}

// ship reads it.
func ship(t *testing.T) shipped {
	t.Helper()
	var s shipped
	var err error
	if s.catalog, err = ReadCatalog(filepath.Join(root, "docs/metrics.md")); err != nil {
		t.Fatal(err)
	}
	for _, path := range glob(t, "alerts/*.rules.yml") {
		rules, err := ReadRules(path)
		if err != nil {
			t.Fatal(err)
		}
		s.rules = append(s.rules, rules...)
	}
	if len(s.rules) < 30 {
		t.Fatalf("only %d rules", len(s.rules))
	}
	s.catalog.Record(s.rules)
	for _, path := range glob(t, "dashboards/*.json") {
		found, err := Board(path, file(t, path))
		if err != nil {
			t.Error(err)
		}
		s.boards, s.hasBoards = append(s.boards, found...), true
	}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/runbooks/*.md"} {
		for _, path := range glob(t, pattern) {
			s.blocks = append(s.blocks, Blocks(path, string(file(t, path)))...)
		}
	}
	return s
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func file(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRules(t *testing.T) {
	s := ship(t)
	for i := range s.rules {
		problems, _ := s.catalog.CheckRule(&s.rules[i])
		if err := errors.Join(problems...); err != nil {
			t.Error(err)
		}
	}
}

func TestBoardsAndDocuments(t *testing.T) {
	s := ship(t)
	for _, source := range append(s.boards, s.blocks...) {
		if _, err := s.catalog.Check(source.Expr); err != nil {
			t.Errorf("%s: %s: %v", source.Place, source.Expr, err)
		}
	}
	if len(s.blocks) < 30 {
		t.Errorf("documents have only %d expressions", len(s.blocks))
	}
	if !s.hasBoards {
		t.Skip("SKIPPED: there are no boards in dashboards/*.json; rules and documents were checked")
	}
}

func TestRunbooks(t *testing.T) {
	s := ship(t)
	for _, err := range CheckRunbooks(s.rules, filepath.Join(root, "docs/runbooks")) {
		t.Error(err)
	}
}

func TestEveryMetricIsUsed(t *testing.T) {
	s := ship(t)
	var used []string
	for i := range s.rules {
		_, metrics := s.catalog.CheckRule(&s.rules[i])
		used = append(used, metrics...)
	}
	for _, source := range s.boards {
		e, _ := s.catalog.Check(source.Expr)
		used = append(used, e.Metrics...)
	}
	unused, err := Unused(string(file(t, "unused.txt")))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range s.catalog.CheckUse(used, unused, s.hasBoards) {
		t.Error(err)
	}
	if !s.hasBoards {
		t.Skip("SKIPPED: whether every metric is used cannot be said without boards in dashboards/*.json")
	}
}

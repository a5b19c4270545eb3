package dashboards

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inGen runs a command of the go tool in the generator's module.
func inGen(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = "gen"
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	return cmd.CombinedOutput()
}

// needGenerator skips the test where the generator's modules are not here and cannot be had.
func needGenerator(t *testing.T) {
	t.Helper()
	out, err := inGen(t, "list", "-deps", "-test", "./...")
	if err == nil {
		return
	}
	if os.Getenv("REQUIRE_DAEMONS") == "1" {
		t.Fatalf("the generator's modules are required: %v\n%s", err, out)
	}
	t.Skipf("the generator's modules cannot be loaded: %v\n%s", err, out)
}

// TestGenerator runs the tests of the generator's module, which ./... does not reach.
func TestGenerator(t *testing.T) {
	needGenerator(t)
	for _, args := range [][]string{{"vet", "./..."}, {"test", "./..."}} {
		if out, err := inGen(t, args...); err != nil {
			t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestBoardsAreGenerated: no board was edited by hand, and all were written after a change of
// the generator.
func TestBoardsAreGenerated(t *testing.T) {
	needGenerator(t)
	dir := t.TempDir()
	if out, err := inGen(t, "run", ".", "-out", dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if made, err := filepath.Glob(filepath.Join(dir, "*.json")); err != nil || len(made) != len(files(t)) {
		t.Errorf("the generator writes %d boards, here are %d: %v", len(made), len(files(t)), err)
	}
	for _, path := range files(t) {
		want, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator writes: go run . in dashboards/gen writes it", path)
		}
	}
}

package policy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPromQL runs the tests of tools/promqlcheck, a module of its own: rules, boards and runbooks
// against what the exporter says of itself.
func TestPromQL(t *testing.T) {
	dir := filepath.Join(root, "tools", "promqlcheck")
	command := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
		return cmd.CombinedOutput()
	}
	// The PromQL parser may have to be downloaded first.
	if out, err := command("list", "-deps", "-test", "./..."); err != nil {
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatalf("the modules of %s are required: %v\n%s", dir, err, out)
		}
		t.Skipf("SKIPPED: the modules of %s cannot be had: %v\n%s", dir, err, out)
	}
	out, err := command("test", "-count=1", "-v", "./...")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte("SKIPPED")) {
			t.Logf("%s", bytes.TrimSpace(line)) // what was left out is to be seen here too
		}
	}
	if !bytes.Contains(out, []byte("--- PASS: TestPlantedExpressions")) {
		t.Errorf("no test of planted mistakes ran:\n%s", out)
	}
}

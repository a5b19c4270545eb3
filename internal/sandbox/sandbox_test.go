package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCovers: names do not matter, the files that they lead to do.
func TestCovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"in", "in/deep", "out", "inner"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"in/escape": "../out", "alias": "in", "in/loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	rules := &Rules{Read: []string{filepath.Join(dir, "alias")}, Write: []string{filepath.Join(dir, "inner", "later")}, Run: []string{"/usr/bin/whack"}}
	for path, want := range map[string]bool{
		"in": true, "in/deep/file": true, "in/new/file": true, "alias/file": true, "in/../in/file": true, "inner/later/file": true,
		"inner": false, "inner/file": false, "out/file": false, "in/escape/file": false, "in/deep/../../out/file": false, "in/loop": true, ".": false,
	} {
		if got := rules.Covers(filepath.Join(dir) + "/" + path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if !(&Rules{Read: []string{"/"}}).Covers("/any/file") {
		t.Error("the root does not cover everything")
	}
	if !rules.CoversProgram("/usr/bin/whack") || rules.CoversProgram("/usr/bin/sh") {
		t.Error("other programs than those of the rules")
	}
}

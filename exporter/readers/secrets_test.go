package readers

import (
	"os"
	"path/filepath"
	"testing"

	"ipsec_path_exporter/collectors/gateways/ciscoasa"
	"ipsec_path_exporter/exporter/config"
)

// TestTrustThatIsMissing: a missing file of host keys is reported like a missing secret.
func TestTrustThatIsMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("PLANTED\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := FileProblems(config.Gateway{Name: "hub", Cisco: ciscoasa.Config{PasswordFile: secret, KnownHostsFile: filepath.Join(dir, "k")}})
	if want := "gateway hub: " + filepath.Join(dir, "k") + " does not exist: the gateway cannot be read until it does"; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSecretProblems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"good": 0o640, "open": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("PLANTED\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"good": "", "open": "is readable by every user of this host: remove that permission (chmod o-r)",
		"missing": "does not exist: the gateway cannot be read until it does", ".": "is not a regular file",
	} {
		if got := secretProblem(filepath.Join(dir, name)); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if os.Getuid() == 0 {
		return
	}
	file := filepath.Join(dir, "closed")
	if err := os.WriteFile(file, nil, 0); err != nil {
		t.Fatal(err)
	}
	if got := secretProblem(file); got != "is not readable by this process" {
		t.Errorf("closed: %q", got)
	}
}

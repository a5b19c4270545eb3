package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/peerfiles"
	"ipsec_path_exporter/internal/netlab/daemons"
)

// yaml covers blocks of YAML by what they are for: this program, Prometheus, Kubernetes or Ansible.
func (d *manual) yaml(t *testing.T, b *block) bool {
	t.Helper()
	var top yaml.Node
	if err := yaml.Unmarshal([]byte(b.text), &top); err != nil {
		t.Errorf("%s:%d: %v", b.file, b.line, err)
		return true
	}
	for _, kind := range []struct {
		key   string
		check func(t *testing.T, b *block) error
	}{
		{"scrape_configs", d.scrapeConfig},
		{"apiVersion", d.pod},
		{"peers", d.configuration},
		{"partners", d.configuration},
		{"gateways", d.configuration},
		{"modules", d.configuration},
		{"peer_files", d.configuration},
		{"controls", d.configuration},
		{"limits", d.configuration},
	} {
		if regexp.MustCompile(`(?m)^` + kind.key + `:`).MatchString(b.text) {
			t.Run(fmt.Sprintf("%s:%d", b.file, b.line), func(t *testing.T) { // promtool may be missing, for this block alone
				if err := kind.check(t, b); err != nil {
					t.Errorf("%s:%d: %v", b.file, b.line, err)
				}
			})
			return true
		}
	}
	// A task of Ansible: its text is what must be YAML.
	return strings.Contains(b.text, "ansible.builtin.")
}

// configuration reads a file of this program.
func (d *manual) configuration(t *testing.T, b *block) error {
	t.Helper()
	_, err := config.ReadAny(file(t, b.text), nil)
	return err
}

// scrapeConfig has promtool read a file of Prometheus.
func (d *manual) scrapeConfig(t *testing.T, b *block) error {
	t.Helper()
	daemons.NeedPrometheus(t)
	// AGENTS is a number to fill in, and the promtool of Debian knows no Kubernetes.
	text := strings.NewReplacer("modulus: AGENTS", "modulus: 3", "kubernetes_sd_configs: [{role: pod}]", "file_sd_configs: [{files: [x.yml]}]").Replace(b.text)
	out, err := exec.CommandContext(t.Context(), "promtool", "check", "config", "--syntax-only", file(t, text)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("promtool: %w: %s", err, out)
	}
	return nil
}

// pod parses the arguments of the containers of an object of Kubernetes.
func (d *manual) pod(_ *testing.T, b *block) error {
	var set struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct{ Args []string }
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(b.text), &set); err != nil {
		return err
	}
	if len(set.Spec.Template.Spec.Containers) != 1 {
		return errors.New("has no container")
	}
	_, err := commandLine().ParseContext(set.Spec.Template.Spec.Containers[0].Args)
	return err
}

// json covers blocks of JSON: peer files, read beside a configuration that has what they name.
func (d *manual) json(t *testing.T, b *block) bool {
	t.Helper()
	if !json.Valid([]byte(b.text)) {
		t.Errorf("%s:%d: is no JSON", b.file, b.line)
		return true
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"peers.json": b.text, "config.yml": "modules: {old-asa: {}}\npeer_files: [peers.json]\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.ReadAny(filepath.Join(dir, "config.yml"), nil)
	if err == nil {
		cfg, err = peerfiles.Read(cfg)
	}
	if err != nil || len(cfg.Peers) == 0 {
		t.Errorf("%s:%d: no peers, %v", b.file, b.line, err)
	}
	return true
}

// unit covers parts of systemd units: sections with settings, and a command line of the program.
func (d *manual) unit(t *testing.T, b *block) bool {
	t.Helper()
	text := strings.ReplaceAll(b.text, "\\\n", " ")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !regexp.MustCompile(`^(#.*|\[(Unit|Service|Install)\]|[A-Z]\w+=.*)$`).MatchString(line) {
			t.Errorf("%s:%d: %q is no line of a unit", b.file, b.line, line)
		}
		if command, found := strings.CutPrefix(line, "ExecStart=/usr/local/bin/ipsec_path_exporter "); found {
			if _, err := commandLine().ParseContext(strings.Fields(command)); err != nil {
				t.Errorf("%s:%d: %v", b.file, b.line, err)
			}
		}
	}
	return true
}

// TestExamples: the example configurations are good, apart from the secrets that they name.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*.yml")
	if err != nil || !slices.Contains(files, "examples/config.yml") || !slices.Contains(files, "examples/reference.yml") {
		t.Fatalf("%q, %v", files, err)
	}
	for _, name := range files {
		cfg, err := config.ReadAny(name, nil)
		if err != nil || len(cfg.Peers) == 0 || len(cfg.Gateways) == 0 || len(cfg.Controls) == 0 {
			t.Errorf("%s: %+v, %v", name, cfg, err)
		}
	}
}

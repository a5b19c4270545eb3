package deploy

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write kubernetes/base/prometheusrule.yaml")

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// prometheusRule returns the rules as an object for the Prometheus Operator.
func prometheusRule(rules string) string {
	var b strings.Builder
	b.WriteString("# Written by `go test ./deploy -update` from alerts/ipsec_path.rules.yml.\n" +
		"apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: ipsec-path\n" +
		"  labels: {app.kubernetes.io/name: ipsec-path-exporter}\nspec:\n")
	_, groups, _ := strings.Cut(rules, "\ngroups:")
	for line := range strings.Lines("groups:" + groups) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestPrometheusRule(t *testing.T) {
	const name = "kubernetes/base/prometheusrule.yaml"
	rules := read(t, "../alerts/ipsec_path.rules.yml")
	want := prometheusRule(rules)
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, name) != want {
		t.Errorf("%s differs from the rules: go test ./deploy -update", name)
	}
	type ruleFile struct{ Groups any }
	var object struct{ Spec ruleFile }
	var file ruleFile
	if err := yaml.Unmarshal([]byte(want), &object); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(rules), &file); err != nil {
		t.Fatal(err)
	}
	got, errGot := yaml.Marshal(object.Spec)
	expected, err := yaml.Marshal(file)
	if errGot != nil || err != nil || string(got) != string(expected) || file.Groups == nil {
		t.Errorf("the object has other rules than the file (%v, %v)", errGot, err)
	}
}

// TestDockerfile: the image is the program alone, a user other than root runs it, and what the build
// copies is there.
func TestDockerfile(t *testing.T) {
	text := strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " ")
	build, final, ok := strings.Cut(text, "\nFROM scratch\n")
	if !ok {
		t.Fatal("the last stage is not empty at its start")
	}
	for _, want := range []string{"CGO_ENABLED=0 ", "-trimpath", "setcap cap_net_raw+ep /out/ipsec_path_exporter"} {
		if !strings.Contains(build, want) {
			t.Errorf("the build lacks %s", want)
		}
	}
	if !regexp.MustCompile(`(?m)^USER [1-9][0-9]*:[1-9][0-9]*$`).MatchString(final) {
		t.Error("the user has no number, or is root: runAsNonRoot of Kubernetes needs one")
	}
	copied := regexp.MustCompile(`(?m)^COPY --from=build .*?(/\S+) (/\S+)$`).FindAllStringSubmatch(final, -1)
	if len(copied) != 3 || strings.Contains(final, "RUN ") {
		t.Errorf("the image holds more or less than the program, certificates and the directory for state:\n%s", final)
	}
	for _, m := range regexp.MustCompile(`(?m)^COPY ([^-].*) \S+$`).FindAllStringSubmatch(build, -1) {
		for name := range strings.FieldsSeq(m[1]) {
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Error(err)
			}
		}
	}
	if module := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod")); !strings.Contains(build, "FROM golang:"+module[1]+"-") {
		t.Errorf("the build has another Go than go.mod: %s", module[1])
	}
}

// TestSameUser: the container and the objects for Kubernetes name the same user and directories.
func TestSameUser(t *testing.T) {
	user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(read(t, "Dockerfile"))
	set := read(t, "kubernetes/base/statefulset.yaml")
	for _, want := range []string{
		"runAsUser: " + user[1], "runAsGroup: " + user[2], "fsGroup: " + user[2], "add: [NET_RAW]",
		"mountPath: /var/lib/ipsec_path_exporter", "--config.file=/etc/ipsec_path_exporter/config.yml",
	} {
		if !strings.Contains(set, want) {
			t.Errorf("statefulset.yaml lacks %s", want)
		}
	}
}

// TestPackageFiles: every file that the packages take from the repository is there.
func TestPackageFiles(t *testing.T) {
	var spec struct {
		Scripts  map[string]string
		Contents []struct{ Src, Dst string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "package/nfpm.yaml")), &spec); err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, c := range spec.Contents {
		if c.Src == "" || strings.HasPrefix(c.Src, "@STAGE@") {
			continue
		}
		files++
		if _, err := os.Stat(filepath.Join("..", c.Src)); err != nil {
			t.Error(err)
		}
	}
	if files == 0 || len(spec.Scripts) != 3 {
		t.Errorf("%d files and %d scripts", files, len(spec.Scripts))
	}
	for _, script := range spec.Scripts {
		if info, err := os.Stat(filepath.Join("..", script)); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// TestInstallationPage: each file of the repository that the page names is there.
func TestInstallationPage(t *testing.T) {
	page := read(t, "../docs/installation.md")
	named := regexp.MustCompile(`\bdeploy/[A-Za-z0-9_./-]*[A-Za-z0-9_]`).FindAllString(page, -1)
	if len(named) < 4 {
		t.Errorf("the page names %q", named)
	}
	for _, name := range named {
		if _, err := os.Stat(filepath.Join("..", name)); err != nil {
			t.Error(err)
		}
	}
}

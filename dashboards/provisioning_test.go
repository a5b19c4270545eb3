package dashboards

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// readYAML decodes a file into what the test knows of it, and refuses the rest.
func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

type datasources struct {
	APIVersion  int `yaml:"apiVersion"`
	Datasources []struct {
		Name, Type, Access, URL string
		JSONData                struct {
			HTTPMethod   string `yaml:"httpMethod"`
			TimeInterval string `yaml:"timeInterval"`
		} `yaml:"jsonData"`
	}
}

type providers struct {
	APIVersion int `yaml:"apiVersion"`
	Providers  []struct {
		Name, Folder, Type string
		AllowUIUpdates     bool `yaml:"allowUiUpdates"`
		Options            struct{ Path string }
	}
}

type compose struct {
	Services map[string]struct {
		Image       string
		NetworkMode string `yaml:"network_mode"`
		Command     []string
		Environment map[string]string
		Volumes     []string
	}
	Volumes map[string]any
}

type scrapes struct {
	Global struct {
		ScrapeInterval     string `yaml:"scrape_interval"`
		EvaluationInterval string `yaml:"evaluation_interval"`
	}
	RuleFiles []string `yaml:"rule_files"`
	Alerting  struct {
		Alertmanagers []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		}
	}
	ScrapeConfigs []struct {
		JobName       string                       `yaml:"job_name"`
		StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

// TestProvisioningFitsTogether: what one file says and another has to know is the same in both.
func TestProvisioningFitsTogether(t *testing.T) {
	const deploy = "../deploy/grafana"
	var sources datasources
	var provider providers
	var services compose
	var prometheus scrapes
	readYAML(t, "provisioning/datasources/ipsec_path.yml", &sources)
	readYAML(t, "provisioning/dashboards/ipsec_path.yml", &provider)
	readYAML(t, deploy+"/compose.yml", &services)
	readYAML(t, deploy+"/prometheus.yml", &prometheus)

	source, boards := sources.Datasources[0], provider.Providers[0]
	if sources.APIVersion != 1 || provider.APIVersion != 1 || source.Type != "prometheus" || boards.Type != "file" {
		t.Errorf("%+v %+v", sources, provider)
	}
	if source.JSONData.TimeInterval != prometheus.Global.ScrapeInterval {
		t.Errorf("the data source believes in a scrape interval of %s, Prometheus has %s", source.JSONData.TimeInterval, prometheus.Global.ScrapeInterval)
	}
	if !slices.Contains(services.Services["prometheus"].Command, "--web.listen-address=127.0.0.1:"+source.URL[strings.LastIndex(source.URL, ":")+1:]) {
		t.Errorf("the data source asks %s, Prometheus runs with %v", source.URL, services.Services["prometheus"].Command)
	}
	manager := prometheus.Alerting.Alertmanagers[0].StaticConfigs[0].Targets[0]
	if !slices.Contains(services.Services["alertmanager"].Command, "--web.listen-address="+manager) {
		t.Errorf("Prometheus sends alerts to %s, Alertmanager runs with %v", manager, services.Services["alertmanager"].Command)
	}
	mounts := make(map[string]string)
	for _, s := range services.Services {
		for _, v := range s.Volumes {
			from, to, _ := strings.Cut(v, ":")
			to, _, _ = strings.Cut(to, ":")
			mounts[to] = from
			if _, named := services.Volumes[from]; named {
				continue
			}
			if _, err := os.Stat(filepath.Join(deploy, from)); err != nil {
				t.Errorf("mounted and not there: %v", err)
			}
		}
	}
	// What the boards say of alerts comes from the rules.
	for _, file := range prometheus.RuleFiles {
		if mounts[path.Join("/etc/prometheus", file)] == "" {
			t.Errorf("Prometheus loads %s, which nothing mounts", file)
		}
	}
	if len(prometheus.RuleFiles) == 0 {
		t.Error("Prometheus loads no rules")
	}
	const config = "--config.file="
	for name, s := range services.Services {
		at := slices.IndexFunc(s.Command, func(arg string) bool { return strings.HasPrefix(arg, config) })
		if at >= 0 && mounts[strings.TrimPrefix(s.Command[at], config)] == "" {
			t.Errorf("%s reads a configuration that nothing mounts: %s", name, s.Command[at])
		}
	}
	home := services.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if _, err := os.Stat(filepath.Join(deploy, mounts[boards.Options.Path], filepath.Base(home))); err != nil || filepath.Dir(home) != boards.Options.Path {
		t.Errorf("boards are looked for in %s, where %q is mounted; home is %s: %v", boards.Options.Path, mounts[boards.Options.Path], home, err)
	}
	if _, err := os.Stat(filepath.Join(deploy, mounts["/etc/grafana/provisioning"], "dashboards/ipsec_path.yml")); err != nil {
		t.Error(err)
	}
}

func TestPrometheusTakesItsConfiguration(t *testing.T) {
	need(t, "promtool")
	if out, err := exec.CommandContext(t.Context(), "promtool", "check", "config", "../deploy/grafana/prometheus.yml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

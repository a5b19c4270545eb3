package alerts

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const alertmanagerFile = "alertmanager.example.yml"

func TestAmtoolChecksExample(t *testing.T) {
	if out, err := run(t, "amtool", "check-config", alertmanagerFile); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAmtoolRoutesExample(t *testing.T) {
	receivers := map[string]string{"critical": "pager", "warning": "tickets", "info": "log"}
	for _, r := range alertRules(t) {
		want := receivers[r.Labels["severity"]]
		out, err := run(t, "amtool", "config", "routes", "test", "--config.file="+alertmanagerFile, "--verify.receivers="+want,
			"alertname="+r.Alert, "severity="+r.Labels["severity"], "isp=acme", "peer=hq")
		if err != nil {
			t.Errorf("%s, %s does not go to %s: %v\n%s", r.Alert, r.Labels["severity"], want, err, out)
		}
	}
	if out, err := run(t, "amtool", "config", "routes", "test", "--config.file="+alertmanagerFile, "--verify.receivers=pager",
		"alertname=Other", "severity=critical"); err == nil {
		t.Errorf("alerts of others are routed too:\n%s", out)
	}
}

// A matcher is one of Alertmanager's.
type matcher struct {
	name, op string
	value    *regexp.Regexp
}

// matchers parses them, each in the form name=~"value".
func matchers(t *testing.T, lines []string) []matcher {
	t.Helper()
	var out []matcher
	for _, line := range lines {
		m := regexp.MustCompile(`^(\w+)(=~|!~|!=|=)"([^"]*)"$`).FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("not a matcher: %s", line)
		}
		value := m[3]
		if !strings.HasSuffix(m[2], "~") {
			value = regexp.QuoteMeta(value)
		}
		out = append(out, matcher{m[1], m[2], regexp.MustCompile("^(?:" + value + ")$")})
	}
	return out
}

// match reports whether labels match all of the matchers.
func match(all []matcher, labels map[string]string) bool {
	return !slices.ContainsFunc(all, func(m matcher) bool {
		return m.value.MatchString(labels[m.name]) == strings.HasPrefix(m.op, "!")
	})
}

// An inhibition is one inhibit rule.
type inhibition struct {
	Source         []string `yaml:"source_matchers"`
	Target         []string `yaml:"target_matchers"`
	Equal          []string
	source, target []matcher
}

// inhibits reports, like Alertmanager, whether one alert silences another: labels that both lack
// are equal.
func (i *inhibition) inhibits(source, target map[string]string) bool {
	if !match(i.source, source) || !match(i.target, target) || match(i.source, target) && match(i.target, source) {
		return false
	}
	return !slices.ContainsFunc(i.Equal, func(l string) bool { return source[l] != target[l] })
}

func inhibitions(t *testing.T) []inhibition {
	t.Helper()
	var file struct {
		Rules []inhibition `yaml:"inhibit_rules"`
	}
	read(t, alertmanagerFile, &file)
	if len(file.Rules) < 5 {
		t.Fatalf("%d inhibit rules", len(file.Rules))
	}
	for i := range file.Rules {
		r := &file.Rules[i]
		r.source, r.target = matchers(t, r.Source), matchers(t, r.Target)
	}
	return file.Rules
}

// alert makes the labels of an alert of an exporter: NAME, or NAME/severity where the name has more
// than one; then name=value.
func alert(t *testing.T, words string) map[string]string {
	t.Helper()
	fields := strings.Fields(words)
	name, severity, _ := strings.Cut(fields[0], "/")
	name = "IPsecPath" + name
	for _, r := range alertRules(t) {
		if r.Alert == name && severity == "" {
			severity = r.Labels["severity"]
		}
	}
	if severity == "" {
		t.Fatalf("there is no alert %s", name)
	}
	labels := map[string]string{"alertname": name, "severity": severity, "job": "ipsec_path", "instance": "mon:10500"}
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		labels[k] = v
	}
	return labels
}

func TestInhibition(t *testing.T) {
	rules := inhibitions(t)
	for _, tt := range []struct {
		name           string
		firing, loudly []string
	}{
		{"the exporter is down", []string{
			"ExporterDown", "ProviderFault/critical isp=acme", "PeerUnreachable peer=hq isp=acme", "PeerUnreachable peer=hq instance=other:10500", "GatewayUnreadable gateway=hub",
			"VantageSuspect", "ExporterDown instance=third:10500",
		}, []string{"ExporterDown", "PeerUnreachable peer=hq instance=other:10500", "ExporterDown instance=third:10500"}},
		{"the uplink is suspect", []string{
			"VantageSuspect", "ProviderFault/critical isp=acme", "ProviderFault/critical isp=other", "PeerUnreachable peer=hq isp=acme", "PMTUBlackHole/critical peer=b",
			"LocalDrops", "TunnelDown peer=hq gateway=hub",
		}, []string{"VantageSuspect", "LocalDrops"}},
		{"a provider fails", []string{
			"ProviderFault/critical isp=acme", "PeerUnreachable peer=hq isp=acme", "PMTUBlackHole/critical peer=b isp=acme", "TunnelDown peer=hq gateway=hub isp=acme",
			"PeerUnreachable peer=c isp=other", "PeerUnreachable peer=d", "IKERefused peer=e isp=acme",
		}, []string{
			"ProviderFault/critical isp=acme", "PeerUnreachable peer=c isp=other", "PeerUnreachable peer=d", "IKERefused peer=e isp=acme",
		}},
		{"a provider filters", []string{
			"ProviderFault/warning isp=acme", "IKEFragmentsDropped peer=hq isp=acme", "PMTUBlackHole/critical peer=hq isp=acme", "NegotiationStuck peer=b isp=acme gateway=hub",
			"UDP4500Blocked peer=c",
		}, []string{
			"ProviderFault/warning isp=acme", "PMTUBlackHole/critical peer=hq isp=acme", "NegotiationStuck peer=b isp=acme gateway=hub", "UDP4500Blocked peer=c",
		}},
		{"a peer is silent", []string{
			"PeerUnreachable peer=hq", "PMTUBlackHole/critical peer=hq", "NegotiationStuck peer=hq gateway=hub", "LossHigh peer=hq", "MTUDropped peer=hq", "LossHigh peer=b",
			"ConfigReloadFailed",
		}, []string{"PeerUnreachable peer=hq", "LossHigh peer=b", "ConfigReloadFailed"}},
		{"a black hole", []string{
			"PMTUBlackHole/critical peer=hq", "NegotiationStuck peer=hq gateway=hub", "IKEFragmentsDropped peer=hq", "TunnelOversized peer=hq gateway=hub", "MTUDropped peer=hq",
			"ICMPFiltered peer=hq", "ICMPFiltered peer=b", "ESPOneWay peer=hq gateway=hub", "TunnelDown peer=hq gateway=hub",
		}, []string{
			"PMTUBlackHole/critical peer=hq", "ICMPFiltered peer=b", "ESPOneWay peer=hq gateway=hub", "TunnelDown peer=hq gateway=hub",
		}},
		{"a black hole that does no harm", []string{
			"PMTUBlackHole/warning peer=hq", "NegotiationStuck peer=hq gateway=hub", "IKEFragmentsDropped peer=hq", "MTUDropped peer=hq",
		}, []string{"PMTUBlackHole/warning peer=hq", "NegotiationStuck peer=hq gateway=hub", "IKEFragmentsDropped peer=hq"}},
		{"some flows are lost", []string{
			"FlowsLost peer=hq", "NegotiationStuck peer=hq gateway=hub", "LossHigh peer=hq", "MTUDropped peer=hq", "TunnelDown peer=hq gateway=hub", "LossHigh peer=b",
		}, []string{"FlowsLost peer=hq", "TunnelDown peer=hq gateway=hub", "LossHigh peer=b"}},
		{"single probes", []string{
			"UDP500Blocked peer=hq", "TunnelDown peer=hq gateway=hub", "TunnelFlapping peer=b gateway=hub", "ChildMissing peer=b gateway=hub", "TunnelFlapping peer=b gateway=spoke",
			"ScheduleOverloaded", "MeasurementStale",
		}, []string{"UDP500Blocked peer=hq", "ChildMissing peer=b gateway=hub", "TunnelFlapping peer=b gateway=spoke", "ScheduleOverloaded"}},
		{"nothing is scraped", []string{"ExporterAbsent job= instance="}, []string{"ExporterAbsent job= instance="}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, words := range tt.firing {
				target := alert(t, words)
				silenced := slices.ContainsFunc(tt.firing, func(other string) bool {
					source := alert(t, other)
					return slices.ContainsFunc(rules, func(i inhibition) bool { return i.inhibits(source, target) })
				})
				if !silenced {
					got = append(got, words)
				}
			}
			if diff := cmp.Diff(tt.loudly, got); diff != "" {
				t.Errorf("what is told (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInhibitionHidesNothingWorse: an alert never silences one that is more severe, nor one of
// another exporter, and every name in an inhibit rule is that of an alert.
func TestInhibitionHidesNothingWorse(t *testing.T) {
	rank := map[string]int{"info": 0, "warning": 1, "critical": 2}
	rules, alerts := inhibitions(t), alertRules(t)
	for n := range rules {
		i := &rules[n]
		if !slices.Contains(i.Equal, "job") || !slices.Contains(i.Equal, "instance") {
			t.Errorf("%v silences alerts of other exporters", i.Source)
		}
		sources, targets := 0, 0
		for _, s := range alerts {
			from := map[string]string{"alertname": s.Alert, "severity": s.Labels["severity"]}
			if match(i.target, from) {
				targets++
			}
			if !match(i.source, from) {
				continue
			}
			sources++
			for _, r := range alerts {
				to := map[string]string{"alertname": r.Alert, "severity": r.Labels["severity"]}
				if match(i.target, to) && rank[to["severity"]] > rank[from["severity"]] {
					t.Errorf("%s, %s silences %s, %s", s.Alert, s.Labels["severity"], r.Alert, r.Labels["severity"])
				}
			}
		}
		if sources == 0 || targets == 0 {
			t.Errorf("%v: %d alerts silence %d", i.Source, sources, targets)
		}
		for _, line := range slices.Concat(i.Source, i.Target) {
			for _, name := range alternatives(line) {
				if !slices.ContainsFunc(alerts, func(r rule) bool { return r.Alert == name }) {
					t.Errorf("there is no alert %s", name)
				}
			}
		}
	}
}

// alternatives are the alerts that a matcher of names lists.
func alternatives(line string) []string {
	m := regexp.MustCompile(`^alertname(?:=~|!~|=)"(IPsecPath)(?:\(([\w|]+)\)|(\w+))"$`).FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	var out []string
	for name := range strings.SplitSeq(m[2]+m[3], "|") {
		out = append(out, m[1]+name)
	}
	return out
}

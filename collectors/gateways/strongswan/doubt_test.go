package strongswan

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors/gateways"
)

// No property that is missing or changed makes the tunnel down.
func TestNoPropertyMakesATunnelDown(t *testing.T) {
	peers := gateways.NewAttribution([]gateways.Peer{{Name: "branch", Address: netip.MustParseAddr("198.51.100.2"), Expected: true}})
	up := func(raw string) gateways.Answer {
		r := gateways.NewReading(&parse(raw).Table, peers, false)
		return r.Find("branch").Up
	}
	if is := up(established); is != gateways.Yes {
		t.Fatalf("up is %s", is)
	}
	properties := regexp.MustCompile(`[\w-]+=(?:\[[^\]]*\]|[\w.%-]+)`).FindAllString(established, -1)
	if len(properties) < 20 {
		t.Fatalf("%d properties", len(properties))
	}
	for _, p := range properties {
		name, value, _ := strings.Cut(p, "=")
		for _, v := range []string{"", name + "=~", "x" + p, name + "=" + value + "~", name + "={}", name + "=[]"} {
			if is := up(strings.Replace(established, p, v, 1)); is == gateways.No {
				t.Errorf("down with %q in place of %q", v, p)
			}
		}
	}
	children := established[strings.Index(established, "child-sas") : len(established)-2]
	for _, v := range []string{"", "child-sas=x", "child-sas=[]", "children" + strings.TrimPrefix(children, "child-sas"), "child-sas {net-1=INSTALLED}"} {
		if is := up(strings.Replace(established, children, v, 1)); is == gateways.No {
			t.Errorf("down with %q in place of the children", v)
		}
	}
	if is := up("{site=ESTABLISHED}"); is == gateways.No {
		t.Error("down with a text in place of the IKE SA")
	}
	// An IKE SA that has no child is understood.
	if is := up(strings.Replace(established, children, "child-sas {}", 1)); is != gateways.No {
		t.Errorf("without a child: up is %s", is)
	}
}

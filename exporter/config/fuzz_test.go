package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/suite"
)

// FuzzParse looks for panics, and for unusable configurations that are accepted.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../../examples/reference.yml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("config.yml", data)
		if err != nil {
			if c != nil || err.Error() == "" {
				t.Errorf("config %v with error %q", c, err)
			}
			return
		}
		names := make(map[string]bool)
		for _, p := range c.Peers {
			i := p.Intervals
			if p.Name == "" || p.Address == "" || names[p.Name] || p.Collectors == 0 || p.IKE.Port == 0 || p.IKE.Port == p.IKE.NATTPort ||
				i[suite.ICMP] < 100*time.Millisecond || i[suite.IKE] < 10*time.Second || i[suite.PMTU] < 10*time.Second || p.PMTURaise < i[suite.PMTU] || p.Addr.Zone() != "" {
				t.Errorf("accepted %+v", p)
			}
			names[p.Name] = true
		}
		if packets, bytes := c.PacketRate(); len(names) == 0 || packets <= 0 || bytes <= 0 {
			t.Errorf("%d peers need %v packets/s and %v bytes/s", len(names), packets, bytes)
		}
		c.Warnings()
	})
}

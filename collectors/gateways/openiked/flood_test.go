package openiked

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/gatewaystest"
)

// TestEndlessAnswers: parsing ends with the deadline of the reading, whatever ikectl prints.
func TestEndlessAnswers(t *testing.T) {
	floods := gatewaystest.Floods("iked_sas: 0x1 rspi 0x1 ispi 0x1 10.0.0.3:500->10.0.0.1:500<FQDN/b>[] ESTABLISHED r", "iked_sas: ",
		"sa_childsas: 0x1 ESP 0x1 in 10.0.0.1:4500 -> 10.0.0.3:500 (LA) B=0x0 P=0x2 @0x5")
	for name, out := range floods {
		gatewaystest.WantEnd(t, name, func(ctx context.Context) {
			_, _ = parseSAs(ctx, out, nil).Checked()
			parseStats(ctx, out)
		})
	}
}

// TestTooManySAs: a table that is not read to its end is an error, or doubtful.
func TestTooManySAs(t *testing.T) {
	var out strings.Builder
	for i := range gateways.MaxSAs + 1 {
		fmt.Fprintf(&out, "iked_sas: 0x%x rspi 0x1 ispi 0x1 10.0.0.3:500->10.0.0.1:500 ESTABLISHED r\n", i)
	}
	if _, err := parseSAs(t.Context(), out.String(), nil).Checked(); !errors.Is(err, gateways.ErrTooMany) {
		t.Errorf("error %v", err)
	}
	out.Reset()
	out.WriteString("iked_sas: 0x1 rspi 0x1 ispi 0x1 10.0.0.3:500->10.0.0.1:500 ESTABLISHED r\n")
	for i := range gateways.MaxSAs + 1 {
		fmt.Fprintf(&out, "sa_childsas: 0x%x ESP 0x1 out 10.0.0.3:500 -> 10.0.0.1:500 () B=0x0 P=0x1 @0x1\n", i)
	}
	if table := parseSAs(t.Context(), out.String(), nil); len(table.Doubts) == 0 {
		t.Error("no doubt about children that were not read")
	}
}

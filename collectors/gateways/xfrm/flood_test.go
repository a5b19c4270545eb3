//go:build linux

package xfrm

import (
	"bytes"
	"context"
	"testing"

	"ipsec_path_exporter/collectors/gateways/gatewaystest"
)

// TestEndlessMessages: what parses a message of the kernel ends soon for any length, and copies nothing.
func TestEndlessMessages(t *testing.T) {
	head := make([]byte, stateSize)
	head[stateFamily] = familyIPv4
	for name, out := range gatewaystest.Floods("\x04\x00\x01\x00", "\x08\x00\x04\x00aaaa", "\x00\x00\x00\x00") {
		message := append(bytes.Clone(head), out...)
		gatewaystest.WantEnd(t, name, func(context.Context) {
			parseState(message)
			parsePolicy(message)
			parseStat(message)
		})
	}
}

package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"

	"ipsec_path_exporter/exporter/suite"
	"ipsec_path_exporter/internal/enum"
	"ipsec_path_exporter/internal/session"
	"ipsec_path_exporter/internal/wire/stamp"
)

// A Partner is what answers STAMP requests (RFC 8762) at the other end of a path. The zero value is
// none.
type Partner struct {
	// Addr is its address; if it is not valid, that of the peer.
	Addr netip.Addr
	// Port is its UDP port, 0 for the usual one of the mode.
	Port uint16
	Mode PartnerMode
	// KeyFile has the key, NextKeyFile a second one that is accepted too.
	KeyFile, NextKeyFile string
	// DSCP is that of one packet in ten, if Marks; otherwise DefaultDSCP is.
	DSCP  uint8
	Marks bool
}

// DefaultDSCP is AF11 (RFC 2597, section 6): networks that know it do not drop it earlier than others.
const DefaultDSCP = 10

// PartnerMode is whether packets are authenticated.
type PartnerMode uint8

// The modes. A partner without a mode and without a key is none.
const (
	PartnerAuthenticated PartnerMode = iota
	PartnerUnauthenticated
)

// String returns the value of the configuration key.
func (m PartnerMode) String() string { return enum.Name(m, "authenticated", "unauthenticated") }

// Configured reports whether there is a partner.
func (p Partner) Configured() bool { return p.KeyFile != "" || p.Mode == PartnerUnauthenticated }

// UDPPort returns the port of the partner.
func (p Partner) UDPPort() uint16 {
	if p.Mode == PartnerUnauthenticated {
		return cmp.Or(p.Port, stamp.Port)
	}
	return cmp.Or(p.Port, session.Port)
}

// Mark returns the DSCP of one packet in ten.
func (p Partner) Mark() uint8 {
	if p.Marks {
		return p.DSCP
	}
	return DefaultDSCP
}

// partnerFaults returns the contradictions of the settings of a partner.
func (s *Settings) partnerFaults() (all []fault) {
	p := s.Partner
	switch {
	case p.Mode == PartnerUnauthenticated && p.KeyFile+p.NextKeyFile != "":
		all = append(all, fault{"partner.mode", "is unauthenticated, and there is a key file (remove one of them)"})
	case !p.Configured() && p != Partner{}:
		all = append(all, fault{"partner.key_file", "is missing (a partner needs a key, or mode: unauthenticated)"})
	case !p.Configured() && s.Collectors.Has(suite.Partner):
		all = append(all, fault{"collectors", "has partner, and no partner is configured (set partner.key_file)"})
	}
	if p.Addr.IsValid() && (!s.Family.Allows(p.Addr) || s.Family == FamilyBoth) {
		all = append(all, fault{"partner.address", fmt.Sprintf("%s does not fit the family %s", p.Addr, s.Family)})
	}
	return all
}

// partnerKeys returns the keys of a module or peer about its partner.
func (d *decoder) partnerKeys(to *[]override) field {
	fields := []field{
		{"address", set(to, single(d, source), func(s *Settings, v netip.Addr) { s.Partner.Addr = v })},
		{"port", set(to, single(d, integer[uint16](1, 1<<16-1)), func(s *Settings, v uint16) { s.Partner.Port = v })},
		{"mode", set(to, single(d, oneOf(PartnerAuthenticated, PartnerUnauthenticated)), func(s *Settings, v PartnerMode) { s.Partner.Mode = v })},
		{"key_file", set(to, single(d, d.path), func(s *Settings, v string) { s.Partner.KeyFile = v })},
		{"key_file_next", set(to, single(d, d.path), func(s *Settings, v string) { s.Partner.NextKeyFile = v })},
		{"dscp", set(to, single(d, integer(0, 63)), func(s *Settings, v int) { s.Partner.DSCP, s.Partner.Marks = uint8(v), true })},
	}
	return field{"partner", func(n *yaml.Node, at place) { d.fields(n, at, fields) }}
}

// Partners is how this exporter answers the partners of its peers. The zero value does not.
type Partners struct {
	// Addr and Port are where the reflector listens: unspecified for all addresses, port 0 for nowhere.
	Addr netip.Addr
	Port uint16
	// Unauthenticated has partners in unauthenticated mode answered too.
	Unauthenticated bool
	// Limits are the most packets per second that are answered.
	Limits session.Limits
}

// mostAnswers is the largest limit of packets per second.
const mostAnswers = 100_000

func (d *decoder) partners(n *yaml.Node, at place) {
	p := &d.config.Partners
	p.Limits = session.DefaultLimits()
	before, listen := len(d.problems), netip.AddrPort{}
	d.fields(n, at, []field{
		{"listen", into(&listen, single(d, listenAddress))},
		{"unauthenticated", into(&p.Unauthenticated, single(d, boolean))},
		{"packets_per_second", into(&p.Limits.All, single(d, integer(1, mostAnswers)))},
		{"partner_packets_per_second", into(&p.Limits.Partner, single(d, integer(1, mostAnswers)))},
	})
	if p.Addr, p.Port = listen.Addr(), listen.Port(); p.Port == 0 && len(d.problems) == before {
		d.problem(n, at.key("listen"), fmt.Sprintf("is missing (example: \":%d\")", session.Port))
	}
}

// listenAddress parses :PORT or ADDRESS:PORT.
func listenAddress(s string) (a netip.AddrPort, why string) {
	text := s
	if strings.HasPrefix(s, ":") {
		text = "[::]" + s
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Port() == 0 || a.Addr().Zone() != "" {
		return netip.AddrPort{}, fmt.Sprintf("%q must have the form :PORT, ADDRESS:PORT or [IPV6-ADDRESS]:PORT", s)
	}
	return a, ""
}

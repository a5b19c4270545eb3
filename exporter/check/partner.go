package check

import (
	"errors"
	"fmt"
	"net/netip"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/exporter/partners"
	"ipsec_path_exporter/exporter/suite"
)

// errPartnerKey means that one of the two flags of a partner is missing.
var errPartnerKey = errors.New("--partner and --partner-key-file need each other")

// overridePartner gives the peers the partner of the flags.
func (o *Options) overridePartner(peers []config.Peer) error {
	if o.Partner == "" && o.PartnerKeyFile == "" {
		return nil
	}
	if o.Partner == "" || o.PartnerKeyFile == "" {
		return errPartnerKey
	}
	p := config.Partner{KeyFile: o.PartnerKeyFile}
	var err error
	if p.Addr, err = netip.ParseAddr(o.Partner); err != nil {
		with, err := netip.ParseAddrPort(o.Partner)
		if err != nil || with.Port() == 0 {
			return fmt.Errorf("--partner=%s: must be an IP address, or ADDRESS:PORT", o.Partner)
		}
		p.Addr, p.Port = with.Addr(), with.Port()
	}
	if _, err := partners.ReadKeys(p); err != nil {
		return fmt.Errorf("--partner-key-file: %w", err)
	}
	for i := range peers {
		peers[i].Partner = p
		peers[i].Collectors = peers[i].Collectors.With(suite.Partner)
	}
	return nil
}

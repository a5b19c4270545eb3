package capture

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/gopacket/gopacket/layers"

	"ipsec_path_exporter/internal/wire/ip"
)

// Link types that the library does not name (https://www.tcpdump.org/linktypes.html).
const (
	linkRaw12        layers.LinkType = 12 // raw IP in files of some systems
	linkRaw14        layers.LinkType = 14
	linkENC          layers.LinkType = 109
	linkPKTAPDarwin  layers.LinkType = 149 // DLT_USER2
	linkPPPPPD       layers.LinkType = 166
	linkPPPDirection layers.LinkType = 204
	linkNFLOG        layers.LinkType = 239
	linkPKTAP        layers.LinkType = 258
	linkBroadcomTag  layers.LinkType = 281
	linkBroadcomPre  layers.LinkType = 282
	linkDSA          layers.LinkType = 284
	linkEDSA         layers.LinkType = 285
)

// Sizes of headers in front of IP, in bytes.
const (
	lengthEthernet = 14
	lengthSLL      = 16
	lengthSLL2     = 20
	lengthNull     = 4 // the family, which has another number on each system
	lengthENC      = 12
	lengthCHDLC    = 4
	maxLinks       = 2 // PKTAP around another link
)

// A linkType is one kind of link. Frames of a link without find cannot be read.
type linkType struct {
	name string
	find func([]byte) []byte // returns the IP packet inside a frame, nil without one
}

func linkOf(l layers.LinkType) linkType {
	switch l {
	case layers.LinkTypeEthernet:
		return linkType{"Ethernet", ethernet}
	case layers.LinkTypeLinuxSLL:
		return linkType{"Linux cooked", func(b []byte) []byte { return typed(b, lengthSLL, lengthSLL-2) }}
	case layers.LinkTypeLinuxSLL2:
		return linkType{"Linux cooked v2", func(b []byte) []byte { return typed(b, lengthSLL2, 0) }}
	case layers.LinkTypeRaw, linkRaw12, linkRaw14, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		return linkType{"raw IP", raw}
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		return linkType{"loopback", func(b []byte) []byte { return raw(after(b, lengthNull)) }}
	case layers.LinkTypePPP, layers.LinkTypePPP_HDLC:
		return linkType{"PPP", ppp}
	case linkPPPPPD, linkPPPDirection:
		return linkType{"PPP with direction", directedPPP}
	case layers.LinkTypePPPEthernet:
		return linkType{"PPPoE", func(b []byte) []byte { return ppp(after(b, lengthPPPoE)) }}
	case layers.LinkTypeC_HDLC:
		return linkType{"Cisco HDLC", func(b []byte) []byte { return typed(b, lengthCHDLC, lengthCHDLC-2) }}
	case linkENC:
		return linkType{"OpenBSD ENC", func(b []byte) []byte { return raw(after(b, lengthENC)) }}
	case layers.LinkTypePFLog:
		return linkType{"OpenBSD PF log", pflog}
	case linkNFLOG:
		return linkType{"Linux NFLOG", nflog}
	case linkPKTAP, linkPKTAPDarwin:
		return linkType{"Apple PKTAP", func(b []byte) []byte { return pktap(b, maxLinks) }}
	case linkBroadcomTag, linkDSA:
		return linkType{"Ethernet with a switch tag", func(b []byte) []byte { return typed(b, lengthEthernet+4, lengthEthernet+2) }}
	case linkEDSA:
		return linkType{"Ethernet with a switch tag", func(b []byte) []byte { return typed(b, lengthEthernet+8, lengthEthernet+6) }}
	case linkBroadcomPre:
		return linkType{"Ethernet with a switch tag", func(b []byte) []byte { return ethernet(after(b, 4)) }}
	case 130, 131, 132, 133, 134, 135, 136, 137, 164, 167, 168, 178, 179, 180, 181, 183, 194, 200, 238, 298, 299, 300:
		return linkType{"Juniper", juniper}
	default:
	}
	return linkType{name: unreadableLink(l)}
}

// unreadableLink names a kind of link that is not supported.
func unreadableLink(l layers.LinkType) string {
	name := ""
	switch l {
	case layers.LinkTypeTokenRing:
		name = "Token Ring"
	case layers.LinkTypeFDDI:
		name = "FDDI"
	case layers.LinkTypeSLIP:
		name = "SLIP"
	case layers.LinkTypeATM_RFC1483, layers.LinkTypeSunATM:
		name = "ATM"
	case layers.LinkTypeIEEE802_11:
		name = "WLAN"
	case layers.LinkTypeIEEE80211Radio, layers.LinkTypePrismHeader, 163, 192:
		name = "WLAN with radio header"
	case layers.LinkTypeFRelay:
		name = "Frame Relay"
	case layers.LinkTypeIPOver1394, layers.LinkTypeIPOverFC:
		name = "IP over FireWire or Fibre Channel"
	case layers.LinkTypeDOCSIS:
		name = "DOCSIS"
	case layers.LinkTypeLinuxUSB, 186, 189, 249, 266:
		name = "USB"
	case 187, 201, 251, 254, 255, 256, 272:
		name = "Bluetooth"
	case 195, 215, 230, 283:
		name = "IEEE 802.15.4"
	case 227:
		name = "CAN"
	case 242, 247:
		name = "InfiniBand"
	case 252:
		name = "Wireshark upper PDU"
	case 253:
		name = "netlink"
	default:
	}
	if name == "" && l >= 147 && l <= 162 {
		name = "private use"
	}
	if name == "" {
		return fmt.Sprintf("link type %d", l)
	}
	return fmt.Sprintf("%s (link type %d)", name, l)
}

func after(b []byte, n int) []byte {
	if n < 0 || len(b) < n {
		return nil
	}
	return b[n:]
}

// raw returns b if it may be an IP packet.
func raw(b []byte) []byte {
	if len(b) == 0 || b[0]>>4 != 4 && b[0]>>4 != 6 {
		return nil
	}
	return b
}

// directedPPP reads PPP behind a byte of direction, or with one in the place of the PPP address.
func directedPPP(b []byte) []byte {
	if len(b) > 1 && b[0] <= 1 && b[1] == pppControl {
		return ppp(b[2:])
	}
	return ppp(after(b, 1))
}

// pflog skips a header that starts with its own length, without its padding.
func pflog(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return raw(after(b, (int(b[0])+3)&^3))
}

// nflog finds the attribute with the packet. Lengths are in the byte order of the capturing host.
func nflog(b []byte) []byte {
	const attributePayload = 9
	var order binary.ByteOrder = binary.LittleEndian
	b = after(b, 4) // family, version, resource
	if len(b) >= 4 && order.Uint16(b[2:]) > 0xff {
		order = binary.BigEndian
	}
	for len(b) >= 4 {
		length, typ := int(order.Uint16(b)), order.Uint16(b[2:])
		if length < 4 {
			return nil
		}
		if typ == attributePayload {
			return raw(b[4:min(length, len(b))])
		}
		b = after(b, (length+3)&^3)
	}
	return nil
}

// pktap reads a header that names its length and the kind of the link inside.
func pktap(b []byte, depth int) []byte {
	if len(b) < 12 || depth == 0 {
		return nil
	}
	inside := layers.LinkType(binary.LittleEndian.Uint32(b[8:]))
	b = after(b, int(binary.LittleEndian.Uint32(b)))
	if inside == linkPKTAP || inside == linkPKTAPDarwin {
		return pktap(b, depth-1)
	}
	if l := linkOf(inside); l.find != nil {
		return l.find(b)
	}
	return nil
}

// maxJuniper bounds Juniper's header with the one of the link inside.
const maxJuniper = 128

// juniper finds the packet behind headers whose cookies and words differ by card. The packet is
// recognised by its own header: an IPv4 checksum, or an IPv6 length that is that of the rest.
func juniper(b []byte) []byte {
	if !bytes.HasPrefix(b, []byte("MGC")) {
		return nil
	}
	for at := 4; at < min(len(b), maxJuniper); at++ {
		if p := b[at:]; isIPv4(p) || isIPv6(p) {
			return p
		}
	}
	return nil
}

func isIPv4(b []byte) bool {
	h, _, err := ip.ParseIPv4(b)
	return err == nil && ip.Checksum(b[:h.HeaderLength]) == 0
}

func isIPv6(b []byte) bool {
	h, _, err := ip.ParseIPv6(b)
	return err == nil && ip.HeaderLengthIPv6+h.PayloadLength == len(b)
}

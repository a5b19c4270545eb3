package report

import (
	"slices"
	"strings"
)

// Advice is what follows from one diagnosis, in plain sentences. Commands in them stand between backticks.
type Advice struct {
	Diagnosis string `json:"diagnosis"`
	// Provider is what the provider's engineer has to know.
	Provider string `json:"provider"`
	// Ask is what to ask for, Meanwhile what helps until it is done, Confirm how to see that it was done.
	Ask       []string `json:"ask"`
	Meanwhile []string `json:"meanwhile"`
	Confirm   []string `json:"confirm"`
}

// echoHole is the key of what is said of a pmtu_black_hole that only echoes see.
const echoHole = "pmtu_black_hole by echo"

// advise returns the advice on a diagnosis, filled in with what was found. A sentence that needs a value which is not known is left out.
func (r *Report) advise(name string) (Advice, bool) {
	key, v := name, r.values()
	if name == "pmtu_black_hole" && r.echoHole() != nil {
		key = echoHole
	}
	all := allAdvice()
	i := slices.IndexFunc(all, func(a Advice) bool { return a.Diagnosis == key })
	if i < 0 {
		return Advice{}, false
	}
	a := all[i]
	provider := v.fill([]string{a.Provider})
	return Advice{
		Diagnosis: name, Provider: strings.Join(provider, ""),
		Ask: v.fill(a.Ask), Meanwhile: v.fill(a.Meanwhile), Confirm: v.fill(a.Confirm),
	}, true
}

// allAdvice has an entry for every diagnosis. Words in braces are those of values.
func allAdvice() []Advice {
	return slices.Concat(pathAdvice(), sizeAdvice(), protocolAdvice(), gatewayAdvice())
}

// again is how every fault of the path is seen to be gone.
const again = "Measure again: `ipsec_path_exporter check {peer}` ends with exit code 0 when no fault is left."

// pathAdvice is about what is silent altogether.
func pathAdvice() []Advice {
	return []Advice{
		{
			Diagnosis: "peer_silent",
			Provider: "Nothing sent from {source} to {peer} is answered: neither ICMP echo, nor IKE on UDP port {ike}, nor IKE on UDP port {natt}. " +
				"Either nothing arrives, or nothing comes back, or {peer} is down.",
			Ask: []string{
				"Do packets from {source} to {peer} leave your network, and where to? Please check route and filters in both directions, also the way from {peer} back to {source}.",
				"Permit UDP port {ike}, UDP port {natt} and IP protocol 50 (ESP) between the two addresses, and do not drop {ptb}.",
			},
			Meanwhile: []string{
				"Reach the peer from another network (another provider, a mobile line): if it answers there, the peer is up and the fault is on this way.",
				"Look at the gateway itself by another way: power, address, default route, and whether it answers strangers at all.",
			},
			Confirm: []string{
				"Capture at the peer while the commands below run at this end: packets that are sent and do not arrive are lost on the way there; those that arrive and are answered are lost on the way back.",
				again,
			},
		},
		{
			Diagnosis: "icmp_blocked",
			Provider: "{peer} answers IKE but no ICMP echo request. If ICMP is dropped altogether, {ptb} is dropped too: path MTU discovery (RFC 1191, RFC 8201) " +
				"is then dead, and packets that are too large vanish without a word.",
			Ask: []string{
				"Do you, or does a device of yours at either edge, drop ICMP? Echo may be limited; but permit {ptb} in both directions: packets that are too large are lost without it.",
				"Permit also ICMP time exceeded, without which nobody can tell where packets are lost.",
			},
			Meanwhile: []string{
				"Nothing has to be done for an echo alone. If tunnels stall, set MTU {mtu} and TCP MSS {mss} on them: then they need no ICMP.",
				"Look whether the gateway's own rules refuse echo: then this is no fault of the path.",
			},
			Confirm: []string{"`ping -c 5 {peer}` is answered, and `tracepath -n {peer}` names a path MTU.", again},
		},
		{
			Diagnosis: "udp500_blocked",
			Provider: "IKE from {source} is answered by {peer} on UDP port {natt} and not on UDP port {ike}. Both are answered by the same process of the same device: " +
				"UDP port {ike} is filtered on the way there or back, or by the peer.",
			Ask: []string{"Permit UDP port {ike} between {source} and {peer} in both directions (source and destination port: behind NAT only one of them is {ike})."},
			Meanwhile: []string{
				"Begin on UDP port {natt} where the gateway can: strongSwan `remote_port = {natt}`, Libreswan `encapsulation=yes` and `remote-ikeport={natt}`. RFC 7296, section 2.23, allows it.",
			},
			Confirm: []string{"`tcpdump` at the peer shows requests to UDP port {ike} from {source}, and replies.", again},
		},
		{
			Diagnosis: "udp4500_blocked",
			Provider: "IKE from {source} is answered by {peer} on UDP port {ike} and not on UDP port {natt}: that port is filtered on the way there or back, or by the peer. Where NAT is on the way, IKE and ESP move to UDP port {natt} " +
				"in the middle of the negotiation (RFC 7296, section 2.23; RFC 3947), which then ends in silence.",
			Ask: []string{"Permit UDP port {natt} between {source} and {peer} in both directions. It carries IKE and, behind NAT, all data of the tunnel (RFC 3948)."},
			Meanwhile: []string{
				"Without NAT on the way the tunnel can do without it: turn NAT traversal off at both ends, and permit IP protocol 50. Behind NAT there is no other way.",
				"Look whether NAT traversal is turned on at the peer: a gateway without it may drop UDP port {natt} itself. The evidence says whether the port has ever answered.",
			},
			Confirm: []string{"`tcpdump` at the peer shows requests to UDP port {natt} from {source}, and replies.", again},
		},
		{
			Diagnosis: "vantage_suspect",
			Provider: "Several unrelated destinations fail at the same time, as seen from {source}. The fault is most likely near {source}, not near {peer}: " +
				"in this site's own network or on its access line.",
			Ask:       []string{"Is there a fault, a change or maintenance on the access line of {source}? The provider at the other end need not look yet."},
			Meanwhile: []string{"Look at this site first: its router, its firewall rules, the MTU of its access line, the load of this host.", "Measure from a second place."},
			Confirm:   []string{"Measure destinations that are known to be well, from here and from elsewhere.", again},
		},
	}
}

// sizeAdvice is about packets that are too large, and those that were cut up for it.
func sizeAdvice() []Advice {
	return []Advice{
		{
			Diagnosis: "pmtu_black_hole",
			Provider: "IP packets of {bytes} bytes with DF from {source} arrive at {peer}, those of {next} bytes vanish{where}, and {silence}. " +
				"The two sizes were sent alternately, so often that loss by chance is no explanation. A router that cannot forward a packet because of its size has to say so (RFC 1191, section 4; RFC 4443, section 3.2).",
			Ask: []string{
				"Permit {ptb} from your routers to {source}: a filter on all ICMP breaks path MTU discovery. In most cases this alone repairs it.",
				"Which link{where} carries less than {link} bytes, and why does its router send no {ptb}? If the MTU was reduced (PPPoE, a tunnel, a new circuit), let it say so, or raise it.",
				"The size that {liar} names ({lie} bytes) is too large: let it name the size that passes.",
				"Do not use a switch or layer 2 circuit below the MTU of its routers: nobody there can send {ptb}.",
			},
			Meanwhile: []string{
				"Set the tunnel's MTU to {mtu} and TCP MSS to {mss} at both ends (computed for {cipher}): then no ESP packet is larger than {bytes} bytes. " +
					"On a Cisco ASA: `sysopt connection tcpmss {mss}`.",
				"Let IKE cut its own messages (IKEv2 fragmentation, RFC 7383), or use short certificates: large IKE messages then stay below {bytes} bytes. strongSwan `fragmentation = yes`, Libreswan `fragmentation=yes`.",
				"Let the gateway clear DF on the tunnel's outer packets only if fragments pass: on a Cisco ASA `crypto ipsec df-bit clear-df outside`.",
			},
			Confirm: []string{"{ptb} arrives here, or packets of {next} bytes and more pass: see the commands below.", again},
		},
		{
			Diagnosis: echoHole,
			Provider: "ICMP echoes of {echobytes} bytes are answered by {peer}, larger ones are not, and no {ptb} comes back; yet larger IKE messages from {source} arrive. " +
				"An echo reply is as large as its request and the reply to an IKE message is small: most likely it is on the way from {peer} to {source} that large packets vanish. Large echoes may also be filtered.",
			Ask: []string{
				"Look at the way from {peer} to {source} first: which link there carries less than {link} bytes? Permit {ptb} in both directions.",
				"Is there a limit on the size of ICMP echoes?",
			},
			Meanwhile: []string{
				"Set the tunnel's MTU to {backmtu} and TCP MSS to {backmss} at both ends (computed for {backcipher} and echoes that come back).",
			},
			Confirm: []string{"Measure from the peer's end towards {source}: there it is the way forward, and is measured to the byte.", again},
		},
		{
			Diagnosis: "pmtu_black_hole_reverse",
			Provider: "Packets from {peer} to {source} vanish above some size ({reverse}), and no {ptb} reaches {peer}. The way from {source} to {peer} is not the one at fault: " +
				"large packets arrive there.",
			Ask: []string{
				"Look at the way from {peer} to {source}: it need not be the reverse of the way there. Permit {ptb} towards {peer}, also where it leaves the peer's provider.",
				"Which link on that way carries less than {link} bytes?",
			},
			Meanwhile: []string{
				"Set the tunnel's MTU to {backmtu} and TCP MSS to {backmss} at both ends (computed for {backcipher} and the way back). The peer's end matters most: it is its packets that are lost.",
				"TCP MSS helps from either end: it is what the other side is asked to send at most. On a Cisco ASA: `sysopt connection tcpmss {backmss}`.",
				"Let IKE cut its own messages (RFC 7383): the peer's large IKE messages are lost like all others.",
			},
			Confirm: []string{"Measure from the peer's end towards {source}: there it is the way forward, and is measured to the byte.", again},
		},
		{
			Diagnosis: "tunnel_oversized",
			Provider: "The gateway at {source}'s end builds packets for a larger path MTU than passes: {bytes} bytes pass to {peer}. It has not learned of the smaller size, " +
				"because no {ptb} reached it.",
			Ask: []string{"Permit {ptb} from your routers to {source}, so that the gateway can learn the size."},
			Meanwhile: []string{
				"Set the tunnel's MTU to {mtu} and TCP MSS to {mss} on the gateway: this is the fault that stalls the tunnel's data, and this ends it. On a Cisco ASA: `sysopt connection tcpmss {mss}`.",
				"See that the gateway accepts {ptb} for its tunnels: on a Cisco ASA `show crypto ipsec sa peer {peer}` counts `#PMTUs rcvd`.",
			},
			Confirm: []string{"The gateway's path MTU is at most {bytes} bytes: `show crypto ipsec sa peer {peer}` on a Cisco ASA (`path mtu`), `ip route get {peer}` on Linux.", again},
		},
		{
			Diagnosis: "fragments_dropped",
			Provider: "The same IKE message from {source} to {peer} is answered when it is sent as one IP packet, and not when it is sent as IP fragments: these are dropped on the way there, or by the peer. " +
				"IKE messages with certificates or long offers are larger than a packet and leave as fragments: without the rest they cannot be put together again, and the negotiation ends in silence.",
			Ask: []string{
				"Do not drop IP fragments of UDP {ike}/{natt} between {source} and {peer}. A fragment after the first one carries no port: a rule that permits UDP ports alone drops it, so it needs a rule of its own.",
				"Does a firewall, a NAT or a scrubbing device on the way limit or discard fragments?",
				"Permit {ptb} as well: with it, fewer packets need to be cut up.",
			},
			Meanwhile: []string{
				"Let IKE cut its own messages: IKEv2 fragmentation (RFC 7383) needs no IP fragments. strongSwan `fragmentation = yes`, Libreswan `fragmentation=yes`, Cisco `crypto ikev2 fragmentation`. Both ends must have it.",
				"With IKEv1, or where that is not to be had: pre-shared keys or short certificates, fewer proposals.",
				"Set the tunnel's MTU to {mtu} and TCP MSS to {mss}, so that ESP packets are not cut up either.",
			},
			Confirm: []string{
				"On a Cisco ASA, `show fragment` at the receiving end: rising Timeout or Fail on the outside interface are fragments without the rest.",
				again,
			},
		},
	}
}

// protocolAdvice is about ESP and AH.
func protocolAdvice() []Advice {
	return []Advice{
		{
			Diagnosis: "esp_blocked",
			Provider:  "ESP from {source} to {peer} is filtered{esphops}, though IKE over UDP passes. ESP is IP protocol 50, not a port: a rule that permits UDP 500 and 4500 does not permit it.",
			Ask:       []string{"Permit IP protocol 50 (ESP) between {source} and {peer} in both directions."},
			Meanwhile: []string{
				"Force NAT traversal, so that ESP travels inside UDP port {natt} (RFC 3948), if that port is answered: strongSwan `encap = yes`, Libreswan `encapsulation=yes`. It costs 8 bytes a packet.",
				"The tunnel then has MTU {natmtu} and TCP MSS {natmss} (computed for {natcipher}).",
			},
			Confirm: []string{"`traceroute -n -P 50 {peer}` (as root) gets as far as `traceroute -n -U -p {ike} {peer}`.", again},
		},
		{
			Diagnosis: "esp_one_way",
			Provider: "The tunnel between {source} and {peer} is up, and its data flows one way only: the gateway's counter of packets sent grows, that of packets received does not. " +
				"IKE passes in both directions, so it is ESP (IP protocol 50, or UDP port {natt} behind NAT) from {peer} to {source} that is lost, or not sent.",
			Ask: []string{"Permit IP protocol 50 (ESP) and UDP port {natt} from {peer} to {source}: the way back needs a rule of its own, and may be another way."},
			Meanwhile: []string{
				"Force NAT traversal, so that ESP travels inside UDP port {natt}: strongSwan `encap = yes`, Libreswan `encapsulation=yes`.",
				"Look at the peer whether its own counter of packets sent grows: if not, its routes or its rules are at fault and not the path.",
			},
			Confirm: []string{"Capture at both ends: what leaves the peer and does not arrive here is lost on the way.", again},
		},
		{
			Diagnosis: "ah_blocked",
			Provider:  "AH from {source} to {peer} is filtered{ahhops}, though IKE over UDP passes. AH is IP protocol 51, not a port.",
			Ask:       []string{"Permit IP protocol 51 (AH) between {source} and {peer} in both directions."},
			Meanwhile: []string{
				"Use ESP with integrity instead of AH. AH cannot cross NAT (RFC 3715, section 2.1), and few tunnels use it: where none does, this is no fault.",
			},
			Confirm: []string{"`traceroute -n -P 51 {peer}` (as root) gets as far as `traceroute -n -U -p {ike} {peer}`.", again},
		},
	}
}

// gatewayAdvice is about what a gateway's SA table shows.
func gatewayAdvice() []Advice {
	return []Advice{
		{
			Diagnosis: "negotiation_stuck",
			Provider: "The gateways at {source} and {peer} begin to negotiate again and again and never end: some messages pass, others do not. " +
				"Typical causes on the way are IP fragments or UDP port {natt} that are dropped, since both are needed only in the middle of the negotiation.",
			Ask: []string{
				"Do not drop IP fragments of UDP {ike}/{natt} between {source} and {peer}, and permit {ptb}.",
				"Permit UDP port {natt} in both directions.",
			},
			Meanwhile: []string{
				"If no fault of the path is found beside this one, look at the configuration first: identities, keys, certificates, the user's password, proposals.",
				"Let IKE cut its own messages (RFC 7383), or make them shorter: pre-shared keys, fewer proposals.",
				"Clear this peer alone and watch a fresh attempt: on a Cisco ASA see below.",
			},
			Confirm: []string{"Capture at both ends during one attempt: the message that leaves one end and does not arrive at the other is the one to ask about.", again},
		},
		{
			Diagnosis: "child_missing",
			Provider:  "IKE between {source} and {peer} is established and no data tunnel exists: the two gateways talk, and do not agree on what to protect, or the messages that would say so are lost.",
			Ask:       []string{"Nothing yet, if no fault of the path is found beside this one: small IKE messages pass in both directions."},
			Meanwhile: []string{
				"Compare traffic selectors, ESP proposals and PFS group of both ends: this is a matter of configuration in most cases.",
				"Start the child by hand and read both logs: `swanctl --initiate --child NAME`, `ipsec auto --up NAME`.",
			},
			Confirm: []string{"The gateway's table shows a child SA."},
		},
		{
			Diagnosis: "no_sa",
			Provider:  "The gateway has no SA with {peer}, neither established nor in the making.",
			Ask:       []string{"Nothing yet, if no fault of the path is found beside this one: the gateway does not even try."},
			Meanwhile: []string{
				"Is there traffic that would start the tunnel, and a route for it? Is the connection loaded, and its peer's address still right?",
				"A tunnel that comes up on demand has no SA while idle: then this is no fault (`on_demand: true`).",
			},
			Confirm: []string{"Send a packet through the tunnel and look at the gateway's table again."},
		},
		{
			Diagnosis: "ike_lockout",
			Provider: "{peer} answers only those IKE messages from {source} that cost it no memory: {source} has too many unfinished negotiations there. This is a defence of the peer and no fault of the path by itself; " +
				"but negotiations that never finish may be the consequence of one.",
			Ask: []string{"Nothing yet: find out first why negotiations do not finish. Lost IP fragments and a filtered UDP port {natt} are frequent reasons."},
			Meanwhile: []string{
				"Stop whatever else begins negotiations from {source}: scanners, a second gateway behind the same address. The limit is for each source address, and old attempts expire within a minute or so.",
				"On strongSwan: `charon.block_threshold` and `charon.cookie_threshold`.",
			},
			Confirm: []string{"The peer's table of half-open SAs (`swanctl --stats`) is empty again.", again},
		},
	}
}

package main

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// exporterPages is the URL of an exporter's own pages; INSTANCE stands for its label instance.
type exporterPages string

// Expressions of Grafana for the value of a label: of a row of a table, of a series, and of a
// variable.
const (
	ofRow    = "${__data.fields.LABEL:percentencode}"
	ofSeries = "${__field.labels.LABEL:percentencode}"
	ofBoard  = "${LABEL:percentencode}"
)

func label(of, name string) string { return strings.ReplaceAll(of, "LABEL", name) }

func dataLink(title, url string, blank bool) dashboard.DashboardLink {
	return dashboard.DashboardLink{
		Title: title, Type: dashboard.DashboardLinkTypeLink, Icon: "", Tooltip: "", Url: &url, Tags: []string{}, TargetBlank: blank,
	}
}

// page links to the exporter's page of a peer. The instance is host and port, which Grafana would
// escape without `:raw`.
func (p exporterPages) page(title, of, below string) dashboard.DashboardLink {
	instance := strings.Replace(label(of, "instance"), ":percentencode}", ":raw}", 1)
	return dataLink(title, strings.ReplaceAll(string(p), "INSTANCE", instance)+"/peers/"+label(of, "peer")+below, true)
}

// report links to the document for the provider, which fits on paper.
func (p exporterPages) report() dashboard.DashboardLink {
	return p.page("Report for the provider, to print", ofBoard, "/report?format=html")
}

// runbooks is where the runbook of each diagnosis is linked.
const runbooks = "https://github.com/ipsec-path-exporter/ipsec_path_exporter/blob/main/docs/runbooks/README.md#"

// help links from a board to the runbooks.
func help() dashboard.DashboardLink {
	l := dataLink("What to do", runbooks+"by-diagnosis", true)
	l.Icon, l.Tooltip = "question", "Runbook of each diagnosis"
	return l
}

// paper links from a board about a peer to the report.
func (p exporterPages) paper() dashboard.DashboardLink {
	l := p.report()
	l.Icon, l.Tooltip = "doc", "The exporter's report about this peer, as a page for A4"
	return l
}

// runbook links from a table's column diagnosis to what to do. The text of the cell is that of a mapping.
func runbook() dashboard.DashboardLink {
	return dataLink("What to do", runbooks+"${__value.raw}", true)
}

// toPeer links from many peers to the board about one.
func toPeer(title, uid, of string) dashboard.DashboardLink {
	return dataLink(title, "/d/"+uid+"?${datasource:queryparam}&${job:queryparam}&var-peer="+label(of, "peer")+
		"&var-instance="+label(of, "instance")+"&${__url_time_range}", false)
}

// toProvider links to the fleet of one provider.
func toProvider(of string) dashboard.DashboardLink {
	return dataLink("Peers of the provider", "/d/"+uidFleet+"?${datasource:queryparam}&${job:queryparam}&var-isp="+label(of, "isp")+"&${__url_time_range}", false)
}

// peerLinks are the links of a panel about many peers.
func (p exporterPages) peerLinks(of string) []dashboard.DashboardLink {
	return []dashboard.DashboardLink{
		toPeer("Peer board", uidPeer, of),
		toPeer("Evidence for the provider", uidEvidence, of),
		p.page("Evidence page of the exporter", of, ""),
	}
}

// pageLinks are the links of a panel about the board's peer.
func (p exporterPages) pageLinks() []dashboard.DashboardLink {
	return []dashboard.DashboardLink{
		p.page("Evidence page of the exporter", ofBoard, ""),
		p.report(),
		p.page("Packets for Wireshark", ofBoard, "/pcap"),
	}
}

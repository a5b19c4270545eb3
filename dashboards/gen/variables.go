package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func source() *common.DataSourceRef {
	return &common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}
}

func datasourceVariable() dashboard.VariableModel {
	return dashboard.VariableModel{
		Type: dashboard.VariableTypeDatasource, Name: "datasource", Label: new("Data source"),
		Description: new("The Prometheus that scrapes the exporters."),
		Query:       &dashboard.StringOrMap{String: new("prometheus")},
		Refresh:     new(dashboard.VariableRefreshOnDashboardLoad),
	}
}

// A labelVariable selects values of a label.
type labelVariable struct {
	name, title, about string
	// metric selects the series whose label is listed.
	metric string
	// single variables have one value; the others have several or all.
	single bool
	// any makes All match series without the label, too. For a required label the values are listed
	// instead, so that series of other programs are excluded.
	any bool
}

func (v labelVariable) model() dashboard.VariableModel {
	query := fmt.Sprintf("label_values(%s, %s)", v.metric, v.name)
	m := dashboard.VariableModel{
		Type: dashboard.VariableTypeQuery, Name: v.name, Label: &v.title, Description: &v.about, Datasource: source(),
		Query:      &dashboard.StringOrMap{Map: map[string]any{"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}},
		Definition: &query,
		Refresh:    new(dashboard.VariableRefreshOnTimeRangeChanged),
		Sort:       new(dashboard.VariableSortNaturalAsc),
		Multi:      new(!v.single), IncludeAll: new(!v.single),
	}
	if v.any {
		m.AllValue = new(".*")
	}
	if !v.single {
		all := dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}}
		m.Current = &dashboard.VariableOption{
			Selected: new(true), Text: dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}}, Value: all,
		}
	}
	return m
}

// Variables for labels. The labels isp and site are optional.
func jobVariable() dashboard.VariableModel {
	return labelVariable{name: "job", title: "Job", about: "Scrape jobs of the exporters.", metric: "ipsec_path_exporter_build_info"}.model()
}

func ispVariable() dashboard.VariableModel {
	return labelVariable{
		name: "isp", title: "Provider", about: "The label isp of the peers, if configured.", any: true,
		metric: `ipsec_path_peer_info{job=~"$job"}`,
	}.model()
}

func siteVariable() dashboard.VariableModel {
	return labelVariable{
		name: "site", title: "Site", about: "The label site of the peers, if configured.", any: true,
		metric: `ipsec_path_peer_info{job=~"$job",isp=~"$isp"}`,
	}.model()
}

func peersVariable() dashboard.VariableModel {
	return labelVariable{
		name: "peer", title: "Peer", about: "The VPN gateways whose path is measured.", any: true,
		metric: `ipsec_path_peer_info{job=~"$job",isp=~"$isp",site=~"$site"}`,
	}.model()
}

// resultVariable takes its values from the labels of a query's result, in the order of the result.
func resultVariable(name, title, about, expr, label string) dashboard.VariableModel {
	query := "query_result(" + expr + ")"
	return dashboard.VariableModel{
		Type: dashboard.VariableTypeQuery, Name: name, Label: &title, Description: &about, Datasource: source(),
		Query:      &dashboard.StringOrMap{Map: map[string]any{"qryType": 3, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}},
		Definition: &query, Regex: new("/" + label + `="([^"]+)"/`),
		Refresh: new(dashboard.VariableRefreshOnTimeRangeChanged), Sort: new(dashboard.VariableSortDisabled),
		Multi: new(false), IncludeAll: new(false),
	}
}

// peerVariable is for boards about one peer. Peers with a fault come first, peers without a known health
// last: a board that is opened without a link shows a peer that needs attention.
func peerVariable() dashboard.VariableModel {
	const labels = `{job=~"$job",isp=~"$isp",site=~"$site"}`
	return resultVariable("peer", "Peer", "The VPN gateways whose path is measured. Those with a fault come first.",
		"sort(min by (peer) (ipsec_path_peer_healthy"+labels+") or max by (peer) (2 * last_over_time(ipsec_path_peer_info"+labels+"[$__range])))", "peer")
}

// rowsVariable says how many of the peers with a fault the table of the fleet shows. It is for a title.
func rowsVariable() dashboard.VariableModel {
	all := countOf(sel("peer_healthy", many)+" == 0", sel("peer_healthy", many))
	v := resultVariable("rows", "Rows", "How many of the peers with a fault the table shows.", fmt.Sprintf(
		`label_join(count_values("all", %[1]s) * on () group_left (shown) count_values("shown", clamp_max(%[1]s, %[2]d)), "text", " of ", "shown", "all") `+
			`or on () label_replace(vector(0), "text", "unknown", "", "")`, all, mostRows), "text")
	v.Hide, v.SkipUrlSync = new(dashboard.VariableHideHideVariable), new(true)
	return v
}

// instanceOfPeer is for boards about one peer: several exporters may measure it, each on its own
// path.
func instanceOfPeer() dashboard.VariableModel {
	return labelVariable{
		name: "instance", title: "Seen from", about: "The exporter that measures the peer.", single: true,
		metric: `ipsec_path_peer_info{job=~"$job",peer="$peer"}`,
	}.model()
}

func instanceVariable() dashboard.VariableModel {
	return labelVariable{
		name: "instance", title: "Exporter", about: "The exporters that measure.", any: true,
		metric: `ipsec_path_exporter_build_info{job=~"$job"}`,
	}.model()
}

func gatewayVariable() dashboard.VariableModel {
	return labelVariable{
		name: "gateway", title: "Gateway", about: "The devices and daemons whose SA tables are read.", any: true,
		metric: `ipsec_path_gateway_up{job=~"$job",instance=~"$instance"}`,
	}.model()
}

// manyPeers are the variables of boards about any number of peers.
func manyPeers(more ...dashboard.VariableModel) []dashboard.VariableModel {
	return append([]dashboard.VariableModel{
		datasourceVariable(), jobVariable(), instanceVariable(), ispVariable(), siteVariable(), peersVariable(),
	}, more...)
}

// onePeer are the variables of boards about one peer.
func onePeer() []dashboard.VariableModel {
	return []dashboard.VariableModel{
		datasourceVariable(), jobVariable(), ispVariable(), siteVariable(), peerVariable(), instanceOfPeer(),
	}
}

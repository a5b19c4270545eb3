package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// annotation marks the times at which a query gives a value.
func annotation(name, colour, title, text, expr string, enabled bool) dashboard.AnnotationQuery {
	return dashboard.AnnotationQuery{
		Name: name, Datasource: source(), Enable: enabled, Hide: new(false), IconColor: colour,
		Expr: &expr, TitleFormat: &title, TextFormat: &text, Step: new("60s"),
		Target: prometheus.Dataquery{RefId: new("Anno"), Expr: expr, Datasource: source(), Range: new(true), Instant: new(false)},
	}
}

// starts of the alerts that a selector selects. Marks for as long as alerts fire would cover the graphs.
func starts(labels string) string {
	all := "ALERTS{" + labels + "}"
	return all + " unless " + all + " offset 1m"
}

// ofFleet are alerts about more than a peer. Those about peers are in the tables: there may be hundreds.
const ofFleet = `alertname=~"IPsecPath(ProviderFault|VantageSuspect|ExporterDown|CannotSend|GatewayUnreadable)",alertstate="firing"`

// manyAnnotations count, so that faults at ten thousand peers are one mark.
func manyAnnotations() []dashboard.AnnotationQuery {
	return []dashboard.AnnotationQuery{
		annotation("Alerts begin", bad, "{{alertname}}", "{{severity}} {{isp}}",
			"count by (alertname, severity, isp) ("+starts(ofFleet+","+process+`,isp=~"$isp"`)+")", true),
		annotation("Path MTU changes", neutral, "Path MTU changed", "at one or more peers",
			fleetwide(many, "sum("+record("mtu_changes:peers3m", many)+")", func(labels string) string {
				return "count(changes(" + sel("mtu_changes_total", labels) + "[3m]) > 0)"
			}), false),
	}
}

func oneAnnotations() []dashboard.AnnotationQuery {
	return []dashboard.AnnotationQuery{
		annotation("Alerts of the peer begin", bad, "{{alertname}}", "{{severity}} {{gateway}}", starts(alerts+","+one), true),
		annotation("Alerts of the peer's provider begin", warning, "{{alertname}}", "{{severity}} {{isp}}",
			"("+starts(alerts+`,job=~"$job",instance="$instance",isp!="",peer=""`)+") and on (isp) "+sel("peer_info", one), true),
		annotation("Alerts of the exporter begin", warning, "{{alertname}}", "{{severity}}",
			starts(alerts+`,job=~"$job",instance="$instance",isp="",peer=""`), true),
		annotation("Path MTU changes", neutral, "Path MTU or its state changed", "{{peer}}",
			"changes("+sel("mtu_changes_total", one)+"[3m]) > 0", true),
	}
}

func processAnnotations() []dashboard.AnnotationQuery {
	return []dashboard.AnnotationQuery{
		annotation("Alerts begin", bad, "{{alertname}}", "{{severity}} {{instance}}",
			"count by (alertname, severity, instance) ("+starts(alerts+","+process+`,peer=""`)+")", true),
		annotation("Starts", neutral, "Exporter started", "{{instance}}",
			`changes(process_start_time_seconds{`+process+`}[3m]) > 0`, true),
	}
}

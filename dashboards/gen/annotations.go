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

// manyAnnotations count, so that faults at ten thousand peers are one mark.
func manyAnnotations() []dashboard.AnnotationQuery {
	return []dashboard.AnnotationQuery{
		annotation("Alerts", bad, "{{alertname}}", "{{severity}}",
			`count by (alertname, severity) (ALERTS{`+alerts+`,instance=~"$instance",isp=~"$isp",site=~"$site",peer=~"$peer"})`, true),
		annotation("Path MTU changes", neutral, "Path MTU changed", "at one or more peers",
			fleetwide(many, "sum("+record("mtu_changes:peers3m", many)+")", func(labels string) string {
				return "count(changes(" + sel("mtu_changes_total", labels) + "[3m]) > 0)"
			}), false),
	}
}

func oneAnnotations() []dashboard.AnnotationQuery {
	return []dashboard.AnnotationQuery{
		annotation("Alerts of the peer", bad, "{{alertname}}", "{{severity}} {{gateway}}",
			`ALERTS{`+alerts+`,instance="$instance",peer="$peer"}`, true),
		annotation("Alerts of the exporter and the provider", warning, "{{alertname}}", "{{severity}} {{isp}}",
			`ALERTS{`+alerts+`,instance="$instance",isp=~"$isp",peer=""}`, true),
		annotation("Path MTU changes", neutral, "Path MTU or its state changed", "{{peer}}",
			"changes("+sel("mtu_changes_total", one)+"[3m]) > 0", true),
	}
}

func processAnnotations() []dashboard.AnnotationQuery {
	return []dashboard.AnnotationQuery{
		annotation("Alerts", bad, "{{alertname}}", "{{severity}} {{instance}}",
			`count by (alertname, severity, instance) (ALERTS{`+alerts+`,instance=~"$instance",peer=""})`, true),
		annotation("Starts", neutral, "Exporter started", "{{instance}}",
			`changes(process_start_time_seconds{`+process+`}[3m]) > 0`, true),
	}
}

{{- /* What a service is told: settings from its ConfigMap, secrets one by one, and what the chart itself knows. */ -}}

{{- /* (dict "root" $ "component" "gateway"): the settings of values.yaml that this service knows, as YAML. */ -}}
{{- define "metrion.settings" -}}
{{- $known := index (.root.Files.Get "files/settings.yaml" | fromYaml) .component -}}
{{- $found := dict -}}
{{- range $name, $value := .root.Values.settings -}}
{{- if has $name $known -}}{{- $_ := set $found $name $value -}}{{- end -}}
{{- end -}}
{{- range $name, $value := (index .root.Values .component).settings -}}
{{- $_ := set $found $name $value -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- /* (dict "root" $ "name" "METRION_NATS_URL" "key" "nats-url-gateway" "optional" false) */ -}}
{{- define "metrion.secretVariable" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.secrets.existingSecret }}
      key: {{ .key }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway"): its secrets; ones of other services never. */ -}}
{{- define "metrion.secretVariables" -}}
{{- $root := .root -}}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_NATS_URL" "key" (printf "nats-url-%s" .component)) }}
{{- if has .component (list "logger" "dashboard") }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_CLICKHOUSE_URL" "key" (printf "clickhouse-url-%s" .component)) }}
{{- end }}
{{- if has .component (list "gateway" "dashboard") }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_SECRET_KEY" "key" "secret-key") }}
{{- end }}
{{- if eq .component "dashboard" }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_DASHBOARD_ADMIN_PASSWORD" "key" "dashboard-admin-password" "optional" true) }}
{{- end }}
{{- if eq .component "gateway" }}
{{- range $name := list "ANTHROPIC_API_KEY" "OPENAI_API_KEY" "GEMINI_API_KEY" "MISTRAL_API_KEY" "XAI_API_KEY" }}
{{ include "metrion.secretVariable" (dict "root" $root "name" $name "key" ($name | lower | replace "_" "-") "optional" true) }}
{{- end }}
{{ include "metrion.secretVariable" (dict "root" $root "name" "METRION_OUTBOUND_PROXY" "key" "outbound-proxy" "optional" true) }}
{{- end }}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway"): where the servers' authorities lie, as YAML. */ -}}
{{- define "metrion.placeVariables" -}}
{{- $found := list -}}
{{- if .root.Values.secrets.natsCaSecret -}}
{{- $found = append $found (dict "name" "METRION_NATS_CA_FILE" "value" "/etc/metrion-nats-ca/ca.crt") -}}
{{- end -}}
{{- if and .root.Values.secrets.clickhouseCaSecret (has .component (list "logger" "dashboard")) -}}
{{- $found = append $found (dict "name" "METRION_CLICKHOUSE_CA_FILE" "value" "/etc/metrion-clickhouse-ca/ca.crt") -}}
{{- end -}}
{{- if $found }}{{ toYaml $found }}{{ end -}}
{{- end -}}

{{- /* "2Gi" becomes a number of bytes. */ -}}
{{- define "metrion.bytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := regexFind "(Ki|Mi|Gi|Ti)$" . -}}
{{- mul (. | trimSuffix $unit | int64) (index $units $unit | int64) -}}
{{- end -}}

{{- /* The outbox may fill four fifths of its volume. */ -}}
{{- define "metrion.spoolBytes" -}}
{{- div (mul (include "metrion.bytes" .Values.gateway.spool.sizeLimit | int64) 4) 5 -}}
{{- end -}}

{{- define "metrion.gatewayGrace" -}}
{{- with .Values.gateway.stop -}}
{{- add .preStopSeconds .delaySeconds .streamSeconds .flushSeconds -}}
{{- end -}}
{{- end -}}

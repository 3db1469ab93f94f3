{{- /* Names, labels and the image. */ -}}
{{- define "metrion.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "metrion.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "metrion.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "metrion.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway"): the selector labels, which never change. */ -}}
{{- define "metrion.selector" -}}
app.kubernetes.io/name: {{ include "metrion.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway" "more" <map>): all labels; commonLabels and `more` cannot override the selector labels. */ -}}
{{- define "metrion.labels" -}}
{{- $fixed := include "metrion.selector" . | fromYaml -}}
{{- $_ := set $fixed "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $fixed "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $fixed "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- include "metrion.merged" (list .root.Values.commonLabels .more $fixed) -}}
{{- end -}}

{{- define "metrion.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "metrion.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "metrion.fullname" .) -}}
{{- end -}}

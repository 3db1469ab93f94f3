-- Cost and usage of a month in FOCUS, the FinOps Open Cost and Usage Specification: a row per day, account, requester, provider, model,
-- token class, service tier, price and tags. Columns of all versions; shared/focus.py selects those of one.
-- Where a provider's report is stored, a row per provider and day of UTC states what it charged beyond that (parts/focus_differences.sql).
-- `names`, `titles`: providers and how they are displayed. `tags`: metadata keys. `guard`: protect spreadsheets from formulas in names.
WITH
    '^[\\s\\pC]*[=+\\-@\\x{ff1d}\\x{ff0b}\\x{ff0d}\\x{ff20}\\x{fe66}\\x{fe62}\\x{fe63}\\x{fe6b}\\x{2212}]' AS formula
SELECT
    CAST(NULL, 'Nullable(String)') AS AvailabilityZone,
    toDecimal128(sum(cost), 12) AS BilledCost,
    account AS BillingAccountId,
    account AS BillingAccountName,
    'Account' AS BillingAccountType,
    'USD' AS BillingCurrency,
    toDateTime({until:DateTime64(6, 'UTC')}, 'UTC') AS BillingPeriodEnd,
    toDateTime({since:DateTime64(6, 'UTC')}, 'UTC') AS BillingPeriodStart,
    if(is_usage, 'Usage', 'Adjustment') AS ChargeCategory,
    CAST(NULL, 'Nullable(String)') AS ChargeClass,
    if(
        is_difference,
        concat('Difference between the costs that ', title, ' reported and those recorded, which no account can be charged with'),
        concat(
            line.2, ' of ', shown_model, ' at ', title,
            if(is_subscription, ', covered by a subscription', ''),
            if(estimated, ', estimated', ''),
            if(is_priced, '', concat('; cost unknown (', reason, '), so that no cost includes it'))
        )
    ) AS ChargeDescription,
    'Usage-Based' AS ChargeFrequency,
    if(
        is_difference, least(toDateTime(day + 1, 'UTC'), BillingPeriodEnd), toTimeZone(toDateTime(day + 1, {tz:String}), 'UTC')
    ) AS ChargePeriodEnd,
    if(is_difference, toDateTime(day, 'UTC'), toTimeZone(toDateTime(day, {tz:String}), 'UTC')) AS ChargePeriodStart,
    CAST(NULL, 'Nullable(String)') AS CommitmentDiscountCategory,
    CAST(NULL, 'Nullable(String)') AS CommitmentDiscountId,
    CAST(NULL, 'Nullable(String)') AS CommitmentDiscountName,
    CAST(NULL, 'Nullable(String)') AS CommitmentDiscountStatus,
    CAST(NULL, 'Nullable(String)') AS CommitmentDiscountType,
    if(is_usage, x_Quantity, NULL) AS ConsumedQuantity,
    if(is_usage, line.3, NULL) AS ConsumedUnit,
    if(contracted IS NULL, BilledCost, toDecimal128(contracted * x_Quantity, 12)) AS ContractedCost,
    if(is_usage, ifNull(contracted, toDecimal128(toDecimal256(BilledCost, 18) / x_Quantity, 18)), NULL) AS ContractedUnitPrice,
    BilledCost AS EffectiveCost,
    title AS HostProviderName,
    CAST(NULL, 'Nullable(String)') AS InvoiceId,
    title AS InvoiceIssuerName,
    if(list IS NULL, BilledCost, toDecimal128(list * x_Quantity, 12)) AS ListCost,
    if(is_usage, ifNull(list, ContractedUnitPrice), NULL) AS ListUnitPrice,
    if(is_usage, 'Standard', NULL) AS PricingCategory,
    'USD' AS PricingCurrency,
    ConsumedQuantity AS PricingQuantity,
    ConsumedUnit AS PricingUnit,
    title AS ProviderName,
    title AS PublisherName,
    CAST(NULL, 'Nullable(String)') AS RegionId,
    CAST(NULL, 'Nullable(String)') AS RegionName,
    if(is_difference, NULL, concat(provider, '/', model)) AS ResourceId,
    nullIf(shown_model, '') AS ResourceName,
    if(is_difference, NULL, 'Model') AS ResourceType,
    'AI and Machine Learning' AS ServiceCategory,
    concat(title, ' API') AS ServiceName,
    title AS ServiceProviderName,
    'Generative AI' AS ServiceSubcategory,
    if(is_usage, concat(ResourceId, '/', line.1), NULL) AS SkuId,
    if(is_usage, line.2, NULL) AS SkuMeter,
    if(is_usage, toJSONString(map('x_ServiceTier', tier_or_standard)), NULL) AS SkuPriceDetails,
    if(is_usage, concat(SkuId, '/', tier_or_standard), NULL) AS SkuPriceId,
    nullIf(if({guard:Bool} AND match(requester, formula), concat('''', requester), requester), '') AS SubAccountId,
    SubAccountId AS SubAccountName,
    if(SubAccountId IS NULL, NULL, 'Requester') AS SubAccountType,
    nullIf(tags, '{}') AS Tags,
    if(is_subscription, 'subscription', 'metered') AS x_Billing,
    estimated AS x_IsEstimated,
    nullIf(shown_model, '') AS x_Model,
    if(is_difference, NULL, sum(line.4)) AS x_Quantity,
    nullIf(tier, '') AS x_ServiceTier,
    line.1 AS x_TokenClass,
    nullIf(line.3, '') AS x_Unit,
    if(is_priced, NULL, reason) AS x_UnknownCostReason
FROM
(
    SELECT
        *,
        line.5 AS cost,
        line.1 = 'difference' AS is_difference,
        is_priced AND NOT is_difference AS is_usage,
        if(tier = '', 'standard', tier) AS tier_or_standard,
        if({guard:Bool} AND match(model, formula), concat('\'', model), model) AS shown_model,
        transform(provider, {names:Array(String)}, {titles:Array(String)}, provider) AS title,
        -- Prices of a unit: NULL where one price does not explain the cost, which is then divided by the quantity.
        multiIf(NOT is_priced, NULL, line.5 = 0, toDecimal128(0, 18), abs(line.6 * line.4 - line.5) < toDecimal128('0.00000000001', 18), line.6, NULL)
            AS contracted,
        if(is_priced, ifNull(line.6, contracted), NULL) AS list
    FROM
    (
        -- include focus_lines.sql
        UNION ALL
        -- include focus_differences.sql
    )
)
GROUP BY
    day, account, requester, provider, model, shown_model, title, tier, tier_or_standard, tags, is_priced, is_usage, is_difference, is_subscription, estimated,
    reason, line.1, line.2, line.3, contracted, list
ORDER BY day, account, requester, provider, model, line.1, tier, tags, is_priced DESC, is_subscription, estimated, reason, list, contracted
SETTINGS do_not_merge_across_partitions_select_final = 1, max_bytes_before_external_group_by = 200000000,
    max_bytes_before_external_sort = 200000000;

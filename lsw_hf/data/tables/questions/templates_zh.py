"""Chinese paraphrases of every question and its answer."""

CHINESE: dict[str, tuple[tuple[str, str], ...]] = {
    "cell": (
        ("{key_column}为{key}的那一行，{column}是什么？", "{value}"),
        ("请查找{key_column}{key}，给出对应的{column}。", "{value}"),
        ("表中{key_column}等于{key}时，{column}一栏的内容是什么？", "{value}"),
    ),
    "row": (
        ("请写出{key_column}为{key}的整行内容。", "{value}"),
        ("关于{key_column}{key}，表中都记录了什么？", "{value}"),
    ),
    "reverse": (
        ("哪一个{key_column}的{column}是{given}？", "{value}"),
        ("只有一行的{column}为{given}，它的{key_column}是什么？", "{value}"),
    ),
    "composite": (
        ("{first}为{first_value}并且{second}为{second_value}的那一行，{column}是什么？", "{value}"),
        ("请找到{first}是{first_value}、{second}是{second_value}的行，给出它的{column}。", "{value}"),
    ),
    "ordinal": (
        ("不计表头，从1数起，第{number}行的{column}是什么？", "{value}"),
        ("请给出第{number}行（从1开始，不含表头）的{column}。", "{value}"),
    ),
    "multi": (
        ("请按顺序逐行给出以下各行（按{key_column}）的{column}：{keys}。", "{value}"),
        ("列出下列{key_column}对应的{column}，每行一个：{keys}。", "{value}"),
    ),
    "absent": (
        ("{key_column}为{key}的那一行，{column}是什么？", "表中没有{key_column}为{key}的行。"),
        ("请查找{key_column}{key}，给出对应的{column}。", "表中没有{key_column}为{key}的行。"),
        ("表中{key_column}等于{key}时，{column}一栏的内容是什么？", "表中没有{key_column}为{key}的行。"),
    ),
    "neighbor": (
        ("{key_column}为{key}的那一行的下一行，{column}是什么？", "{value}"),
        ("先找到{key_column}{key}，再往下一行，那里的{column}是什么？", "{value}"),
    ),
    "join": (
        (
            "在表A中找到{key_column}为{key}的行，再到表B中查它的{link}，{column}是什么？",
            "{steps}\n所以答案是{value}。",
        ),
        ("表A中{key_column}{key}所对应的{link}，在表B中的{column}是什么？", "{steps}\n所以答案是{value}。"),
    ),
    "compare": (
        (
            "{key_column}为{key}和{key_column}为{other}的两行，哪一行的{column}更大（或更晚）？",
            "{steps}\n更大的是{value}。",
        ),
        ("比较{key_column}{key}与{key_column}{other}的{column}，哪个更大（或更晚）？", "{steps}\n更大的是{value}。"),
    ),
    "filter_sum": (
        ("请先引用所有{condition}的行，再求它们的{column}之和。", "{steps}\n{sum}\n总和是{value}。"),
        ("找出{condition}的各行并列出来，它们的{column}合计是多少？", "{steps}\n{sum}\n总和是{value}。"),
    ),
    "add_rows": (
        (
            "请先引用再相加：以下各行（按{key_column}）的{column}之和是多少：{keys}。",
            "{steps}\n{sum}\n总和是{value}。",
        ),
        ("把这些{key_column}的{column}加起来并写出步骤：{keys}。", "{steps}\n{sum}\n总和是{value}。"),
    ),
    "count": (
        ("表中有多少行满足：{condition}？", "{value}"),
        ("请数一数满足“{condition}”的行数。", "{value}"),
    ),
    "sum": (
        ("所有满足“{condition}”的行，{column}的总和是多少？", "{value}"),
        ("请对满足“{condition}”的每一行求{column}之和。", "{value}"),
    ),
    "mean": (
        ("所有满足“{condition}”的行，{column}的平均值是多少？保留两位小数。", "{value}"),
        ("求满足“{condition}”的各行的{column}平均值，保留两位小数。", "{value}"),
    ),
    "extreme": (
        ("表中{extreme}的{column}是多少？在哪一行？", "{value}，在{key}那一行"),
        ("请找出{extreme}的{column}，并指出它所在的行。", "{value}，在{key}那一行"),
    ),
    "top_k": (
        ("{column}最大（或最晚）的{number}行是哪些？从大到小给出{key_column}。", "{value}"),
        ("按{column}从大到小（或从晚到早）排列，给出前{number}行的{key_column}。", "{value}"),
    ),
    "most_frequent": (
        ("哪个{column}出现得最多？出现了几次？", "{value}，{times}次"),
        ("表中最常见的{column}是什么？请同时给出行数。", "{value}，{times}次"),
    ),
    "duplicates": (
        ("{column}一栏中有多少个不同的值出现了不止一次？", "{value}"),
        ("请数一数{column}中至少出现两次的值有几个。", "{value}"),
    ),
    "distinct": (
        ("{column}一栏中有多少个不同的值？", "{value}"),
        ("请统计{column}的不同取值个数。", "{value}"),
    ),
    "monotone": (
        ("从第一行到最后一行，{column}是升序、降序，还是都不是？", "{value}"),
        ("这张表是按{column}排序的吗？请回答升序、降序或都不是。", "{value}"),
    ),
    "list_all": (
        ("请逐行列出所有满足“{condition}”的行的{key_column}。", "{value}"),
        ("哪些行满足：{condition}？请给出每一个{key_column}，每行一个。", "{value}"),
    ),
}
